from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.common import (
    assert_input_error,
    assert_labels_are_retained,
    assert_unlabelled_are_training_examples,
    assert_well_split,
    cut,
)
from tests.plain import Plain
from tutelage.data import arrays

CLASSES = 4


def made(count: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.random.default_rng(seed).normal(3.0, 2.0, (count, 5)).astype(np.float32)
    return inputs, np.arange(count) % CLASSES


def example(folder: Path, **more: np.ndarray) -> dict[str, Any]:
    inputs, labels = made()
    np.savez(folder / "a.npz", **{"x": inputs, "y": labels, **more})
    return {"path": str(folder / "a.npz"), "validation_share": 0.2, "test_share": 0.2}


def read(options: dict[str, Any], split: Any = "train", seed: int = 0) -> Any:
    return Plain(arrays.read(arrays.Config(**options), seed, split))


def test_every_row_is_in_exactly_one_split_and_unchanged(tmp_path: Path) -> None:
    options, (inputs, labels) = example(tmp_path), made()
    splits = [read(options, split) for split in ("train", "validation", "test")]
    known = {tuple(row): label for row, label in zip(inputs.tolist(), labels.tolist(), strict=True)}
    found = {tuple(x): y for s in splits for x, y in zip(s.inputs.tolist(), s.labels.flatten().tolist(), strict=True)}
    assert found == known
    assert [len(split) for split in splits] == [48, 16, 16]
    torch.testing.assert_close(splits[0].seen(slice(None)).mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    assert splits[0].std == splits[1].std


def test_it_is_split_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_well_split(lambda seed, split: read({**options, "test_share": 0.1}, split, seed), 0.22, drawn=72)
    test = read(options, "test").inputs
    assert torch.equal(test, read({**options, "validation_share": 0.4}, "test").inputs)


def test_separately_stored_splits_are_read(tmp_path: Path) -> None:
    x_test, y_test = made(12, 1)
    options = example(tmp_path, x_val=x_test[:4], y_val=y_test[:4], x_test=x_test, y_test=y_test)
    options |= {"x_validation": "x_val", "y_validation": "y_val", "x_test": "x_test", "y_test": "y_test"}
    assert np.array_equal(read(options, "test").inputs.numpy(), x_test)
    assert np.array_equal(read(options, "validation").labels.flatten().numpy(), y_test[:4])
    assert len(read(options)) == 80


@pytest.mark.parametrize(
    ("layout", "shape"), [("as_stored", (6, 5, 3)), ("channels_last", (3, 6, 5)), ("no_channel", (1, 6, 5, 3))]
)
def test_channels_become_axis_1_and_uint8_stays_uint8(tmp_path: Path, layout: str, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 6, 5, 3), dtype=np.uint8)
    train = read({**example(tmp_path, x=pixels), "layout": layout})
    assert train.inputs.dtype == torch.uint8
    assert train.example_shape == shape
    assert len(train.mean) == shape[0]


def test_a_folder_is_memory_mapped_and_labels_may_be_text(tmp_path: Path) -> None:
    inputs, labels = made()
    words = np.array(["ash", "birch", "cedar", "elm"])[labels]
    for name, array in (("x", inputs), ("y", words), ("x_test", inputs[:8] + 1), ("y_test", words[:8, None])):
        np.save(tmp_path / f"{name}.npy", array)
    test = read({"path": str(tmp_path), "x_test": "x_test", "y_test": "y_test"}, "test")
    assert test.class_names == ("ash", "birch", "cedar", "elm")
    assert test.labels.flatten().tolist() == labels[:8].tolist()
    assert np.array_equal(test.inputs.numpy(), inputs[:8] + 1)


def test_a_constant_feature_is_not_divided_by_zero(tmp_path: Path) -> None:
    inputs, _ = made()
    inputs[:, 2] = 7.1
    assert read(example(tmp_path, x=inputs)).std[2] == 1.0


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_statistics_are_those_of_numpy(tmp_path: Path, offset: float) -> None:
    train = read(example(tmp_path, x=made()[0] + np.float32(offset)))
    np.testing.assert_allclose(train.mean, train.inputs.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(train.std, train.inputs.double().std(0, correction=0), rtol=1e-4)


def test_an_unknown_array_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    options = example(tmp_path, x_train=made()[0])
    assert_input_error(
        lambda: read({**options, "x": "x_trian"}), "a.npz", "no array 'x_trian'", "Did you mean 'x_train'?", "x, x_train, y"
    )
    assert_input_error(lambda: read({**options, "x_test": "x"}, "test"), "the test split has only 'x'")
    assert_input_error(lambda: read({**options, "path": str(tmp_path / "b.npz")}), "not there", "Did you mean 'a.npz'?")


def test_python_objects_are_not_read(tmp_path: Path) -> None:
    assert_input_error(
        lambda: read(example(tmp_path, y=np.array([{}] * 80))), "'y' cannot be read", "Python objects are not read"
    )


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_a_cut_off_file_is_an_error(tmp_path: Path, kind: str) -> None:
    options = example(tmp_path)
    if kind == "npy":
        for name, array in zip("xy", made(), strict=True):
            np.save(tmp_path / f"{name}.npy", array)
        options["path"] = str(tmp_path)
    cut(tmp_path / ("a.npz" if kind == "npz" else "x.npy"), 900)
    assert_input_error(
        lambda: read(options), str(tmp_path), "cannot be read as .npz" if kind == "npz" else "'x' cannot be read"
    )


def test_arrays_of_a_wrong_type_or_shape_are_errors(tmp_path: Path) -> None:
    inputs, labels = made()
    assert_input_error(lambda: read(example(tmp_path, y=labels / 3)), "'y' are float64 (80,)", "one integer or text")
    assert_input_error(lambda: read(example(tmp_path, y=np.zeros((80, 2), int))), "'y' are int64 (80, 2)")
    assert_input_error(lambda: read(example(tmp_path, x=inputs[:, 0])), "'x' are float32 (80,)")
    assert_input_error(lambda: read(example(tmp_path, x=inputs[:70])), "70 examples and 80 labels")
    assert_input_error(lambda: read(example(tmp_path, y=labels * 0)), "only the class '0'")
    inputs[33, 2] = np.nan
    assert_input_error(lambda: read(example(tmp_path, x=inputs)), "holds nan in row 33")


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    options = example(tmp_path, y=np.arange(80))
    assert_input_error(lambda: read(options, "validation"), "the validation split is empty", "three labelled examples")
    assert_input_error(lambda: read(example(tmp_path, x=np.empty((0, 5)), y=np.empty(0, int))), "has no examples")


def test_a_label_outside_the_training_classes_is_an_error_with_its_row(tmp_path: Path) -> None:
    x_test, y_test = made(12, 1)
    y_test[7] = -1
    options = example(tmp_path, x_test=x_test, y_test=y_test) | {"x_test": "x_test", "y_test": "y_test"}
    assert_input_error(lambda: read(options, "test"), "'y_test'", "row 7 ", "is -1", "4 training classes (0, 1, 2, 3)")


def test_labels_are_retained_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_labels_are_retained(lambda more, seed, split: read({**options, **more}, split, seed))
    few = [read({**options, "labelled_per_class": 4, "per_class": cap}) for cap in (6, 9)]
    assert [len(train) for train in few] == [24, 36]
    left = [{tuple(row) for row in train.inputs[train.labelled].tolist()} for train in few]
    assert left[0] == left[1] and len(left[0]) == 16


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_unlabelled_rows_are_training_examples(tmp_path: Path, kind: str) -> None:
    inputs, labels = made(80)
    free = made(7, 1)[0]
    known = labels if kind == "numbers" else np.array([*"abcd"])[labels]
    unknown = np.full(7, -1) if kind == "numbers" else np.array([""] * 6 + [" "])
    (tmp_path / "more").mkdir()
    before = example(tmp_path, y=known)
    after = example(tmp_path / "more", x=np.concatenate([inputs, free]), y=np.concatenate([known, unknown]))
    after["minus_one"] = "unlabelled"
    assert_unlabelled_are_training_examples(lambda split: read(before, split), lambda split: read(after, split), more=7)
    train = read({**after, "per_class": 2})
    assert len(train) == 2 * CLASSES + 7
    assert {tuple(row) for row in train.inputs[~train.labelled].tolist()} == {tuple(row) for row in free.tolist()}
    for split in ("validation", "test"):
        assert torch.equal(read(before, split).inputs, read(after, split).inputs)


def test_classes_are_read_from_validation_if_training_is_unlabelled(tmp_path: Path) -> None:
    (x_val, y_val), (x_test, y_test) = made(12, 1), made(16, 2)
    options = example(tmp_path, y=np.full(80, -1), x_val=x_val, y_val=y_val, x_test=x_test, y_test=y_test)
    given = {"x_validation": "x_val", "y_validation": "y_val", "x_test": "x_test", "y_test": "y_test"}
    splits = [read({**options, **given}, split) for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [80, 12, 16]
    assert [split.num_labelled for split in splits] == [0, 12, 16]
    assert {split.class_names for split in splits} == {("0", "1", "2", "3")}
    assert_input_error(lambda: read(options), "'y'", "no training example has a label", "x_validation")
    assert_input_error(
        lambda: read({**options, **given, "x_test": None, "y_test": None}), "the test split is empty", "three labelled"
    )


def test_a_label_of_minus_one_beside_others_is_an_error_until_its_meaning_is_given(tmp_path: Path) -> None:
    options = example(tmp_path, y=np.arange(80) % 3 - 1)
    assert_input_error(
        lambda: read(options), "'y': 27 of its 80 labels are -1", "'minus_one: class' or 'minus_one: unlabelled'"
    )
    classes = read({**options, "minus_one": "class"})
    assert classes.class_names == ("-1", "0", "1") and classes.num_labelled == len(classes)
    unlabelled = read({**options, "minus_one": "unlabelled"})
    assert unlabelled.class_names == ("0", "1") and len(unlabelled) - unlabelled.num_labelled == 27
    signs = example(tmp_path, y=np.where(np.arange(80) % 2, 1, -1))
    assert_input_error(lambda: read({**signs, "minus_one": "unlabelled"}), "only the class '1'")
    assert read({**signs, "minus_one": "class"}).class_names == ("-1", "1")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_validation_and_test_examples_must_be_labelled(tmp_path: Path, split: str) -> None:
    words = np.array(["a", "b"] * 40)
    judged = np.array(["a", "b", "", ""])
    options = example(tmp_path, y=words, x_own=made(4)[0], y_own=judged) | {f"x_{split}": "x_own", f"y_{split}": "y_own"}
    assert_input_error(
        lambda: read(options, split), "'y_own'", "row 2 ", "is empty", "(2 rows are wrong)", "Only training examples"
    )


def test_a_number_out_of_float32_range_is_an_error_with_its_row(tmp_path: Path) -> None:
    inputs = made()[0].astype(np.float64)
    inputs[61, 3] = 1e300
    assert_input_error(lambda: read(example(tmp_path, x=inputs)), "'x' holds 1e+300 in row 61 ", "remove the row.")
    inputs[70] = np.nan
    assert_input_error(lambda: read(example(tmp_path, x=inputs)), "in row 61 ", "remove the 2 rows with such values")


def test_a_header_that_states_other_bytes_than_are_stored_is_an_error_before_memory_is_taken(tmp_path: Path) -> None:
    options = example(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 784)})
    with zipfile.ZipFile(options["path"]) as archive:
        labels = archive.read("y.npy")
    with zipfile.ZipFile(options["path"], "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(64))
        archive.writestr("y.npy", labels)
    assert_input_error(lambda: read(options), "the array 'x' states (1000000000, 784) float32", "and 64 are stored")


def test_an_array_larger_than_memory_is_an_error_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 500}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert_input_error(lambda: read(example(tmp_path)), "more than this machine's memory (500)", "memory-mapped")


def test_all_arrays_that_cannot_be_read_are_named_at_once_whatever_their_split(tmp_path: Path) -> None:
    options = example(tmp_path, x=np.array([{}], dtype=object))
    assert_input_error(
        lambda: read({**options, "x_test": "xtest", "y_test": "ytest"}), "3 of 4 arrays", "'x'", "'xtest'", "'ytest'"
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [((80, 8, 8, 3), "u1", "channels_last"), ((80, 8, 8, 1), "f4", "channels_last"), ((80, 8, 8), "f4", "no_channel"),
     ((80, 6, 5), "u1", "no_channel")],
)  # fmt: skip
def test_images_whose_axis_1_is_not_channels_are_an_error_unless_an_option_decides(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, layout: str
) -> None:
    options = example(tmp_path, x=np.random.default_rng(0).integers(0, 255, shape).astype(dtype))
    assert_input_error(lambda: read(options), str(shape), f"Set 'layout: {layout}'", "as_stored")
    for said in (layout, "as_stored"):
        assert len(read({**options, "layout": said}))


@pytest.mark.parametrize("dtype", ["i8", "f8"])
def test_numbers_that_float32_cannot_tell_apart_are_an_error(tmp_path: Path, dtype: str) -> None:
    inputs = (2**40 + np.arange(400).reshape(80, 5)).astype(dtype)
    assert_input_error(lambda: read(example(tmp_path, x=inputs)), "differ by less than float32 can hold", "1099511627776")
    assert len(read(example(tmp_path, x=(inputs - 2**40))))


def test_examples_without_a_number_repeated_arrays_and_other_members_are_errors(tmp_path: Path) -> None:
    options = example(tmp_path, x=np.zeros((80, 0), np.float32))
    assert_input_error(lambda: read(options), "(80, 0); an example has no number")
    options = example(tmp_path)
    with zipfile.ZipFile(options["path"], "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.npy", archive.read("x.npy"))
    assert_input_error(lambda: read(options), "several arrays 'x'")
    with zipfile.ZipFile(options["path"], "w") as archive:
        archive.writestr("x", b"")
    assert_input_error(lambda: read(options), "no array 'x'. It has no array")
