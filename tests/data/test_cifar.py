from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.common import assert_input_error, assert_labels_are_retained, assert_well_split, cut
from tests.plain import Plain
from tutelage.data import _safe_pickle, cifar
from tutelage.errors import InputError


def read(config: cifar.Config, seed: int, split: Any) -> Plain:
    return Plain(cifar.read(config, seed, split))


REAL = Path(__file__).parents[3] / "shared" / "data" / "cifar-100-python"
PER_CLASS, CLASSES = 20, 4


def photographs(count: int, seed: int) -> tuple[np.ndarray, list[int]]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return pixels, [row % CLASSES for row in range(count)]


def example(folder: Path, protocol: int = 2) -> dict[str, Any]:
    """Write CIFAR-100 as Python 2 pickled it: keys and names are bytes."""
    names = [f"class {number}".encode() for number in range(CLASSES)]
    documents: dict[str, Any] = {"meta": {b"fine_label_names": names, b"coarse_label_names": names[:2]}}
    for name, count, seed in (("train", PER_CLASS * CLASSES, 0), ("test", 4 * CLASSES, 1)):
        pixels, labels = photographs(count, seed)
        coarse = [label // 2 for label in labels]
        documents[name] = {b"data": pixels, b"fine_labels": labels, b"coarse_labels": coarse, b"filenames": [b"a.png"] * count}
    for name, document in documents.items():
        (folder / name).write_bytes(pickle.dumps(document, protocol))
    return {"path": str(folder), "validation_share": 0.2}


def cifar10(folder: Path, binary: bool) -> dict[str, Any]:
    for number in range(1, 7):
        pixels, labels = photographs(8, number)
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        if binary:
            (folder / f"{name}.bin").write_bytes(np.column_stack([np.array(labels, np.uint8), pixels]).tobytes())
        else:
            (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}, 2))
    names = [f"class{number}" for number in range(CLASSES)]
    if binary:
        (folder / "batches.meta.txt").write_text("\n".join([*names, ""]))
    else:
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in names]}, 2))
    return {"path": str(folder), "validation_share": 0.2}


def cifar100_binary(folder: Path) -> dict[str, Any]:
    for name, count, seed in (("train", PER_CLASS * CLASSES, 0), ("test", 4 * CLASSES, 1)):
        pixels, labels = photographs(count, seed)
        fine = np.array(labels, np.uint8)
        (folder / f"{name}.bin").write_bytes(np.column_stack([fine // 2, fine, pixels]).tobytes())
    (folder / "fine_label_names.txt").write_text("".join(f"class{number}\n" for number in range(CLASSES)))
    (folder / "coarse_label_names.txt").write_text("low\nhigh\n")
    return {"path": str(folder), "validation_share": 0.2}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_the_test_split_is_the_official_one(tmp_path: Path, protocol: int) -> None:
    pixels, labels = photographs(4 * CLASSES, 1)
    test = read(cifar.Config(**example(tmp_path, protocol)), 0, "test")
    assert test.inputs.dtype == torch.uint8
    assert np.array_equal(test.inputs.numpy(), pixels.reshape(-1, 3, 32, 32))
    assert test.labels.flatten().tolist() == labels
    assert test.class_names == ("class 0", "class 1", "class 2", "class 3")


def test_it_is_split_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_well_split(lambda seed, split: read(cifar.Config(**options), seed, split), 0.2, drawn=PER_CLASS * CLASSES)


def test_the_mean_and_spread_are_those_of_the_training_split(tmp_path: Path) -> None:
    config = cifar.Config(**example(tmp_path))
    train, test = (read(config, 0, split) for split in ("train", "test"))
    assert train.mean == test.mean and train.std == test.std
    seen = train.seen(slice(None))
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("layout", ["cifar10 python", "cifar10 binary", "cifar100 binary"])
def test_every_layout_is_found_by_its_files(tmp_path: Path, layout: str) -> None:
    write = {"cifar100 binary": cifar100_binary, "cifar10 python": lambda at: cifar10(at, False)}
    options = write.get(layout, lambda at: cifar10(at, True))(tmp_path)
    pixels, labels = photographs(*((4 * CLASSES, 1) if layout.startswith("cifar100") else (8, 6)))
    test = read(cifar.Config(**options), 0, "test")
    assert np.array_equal(test.inputs.numpy(), pixels.reshape(-1, 3, 32, 32))
    assert test.labels.flatten().tolist() == labels
    assert test.class_names[0] == "class0"
    assert len(read(cifar.Config(**options), 0, "train")) == (64 if layout.startswith("cifar100") else 32)


@pytest.mark.parametrize("write", [example, cifar100_binary])
def test_coarse_classes_of_cifar_100(tmp_path: Path, write: Any) -> None:
    test = read(cifar.Config(**write(tmp_path), labels="coarse"), 0, "test")
    assert test.num_classes == 2
    assert test.labels.flatten().tolist() == [label // 2 for label in photographs(4 * CLASSES, 1)[1]]


def test_cifar_10_has_no_coarse_classes(tmp_path: Path) -> None:
    assert_input_error(lambda: read(cifar.Config(**cifar10(tmp_path, True), labels="coarse"), 0, "train"), "no coarse classes")


def test_per_class_limits_training_images_only(tmp_path: Path) -> None:
    options = example(tmp_path)
    whole = [read(cifar.Config(**options), 0, split) for split in ("train", "validation", "test")]
    few = [read(cifar.Config(**options, per_class=5), 0, split) for split in ("train", "validation", "test")]
    assert torch.bincount(few[0].labels.flatten()).tolist() == [5] * CLASSES
    assert {bytes(x.numpy()) for x in few[0].inputs} < {bytes(x.numpy()) for x in whole[0].inputs}
    assert torch.equal(few[1].inputs, whole[1].inputs) and torch.equal(few[2].inputs, whole[2].inputs)


def test_labels_are_retained_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_labels_are_retained(lambda more, seed, split: read(cifar.Config(**options, **more), seed, split))


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_unlabelled_row_of_an_official_file_is_an_error(tmp_path: Path, split: Any) -> None:
    options = example(tmp_path)
    document = pickle.loads((tmp_path / split).read_bytes())
    document[b"fine_labels"][5] = -1
    (tmp_path / split).write_bytes(pickle.dumps(document, 2))
    assert_input_error(
        lambda: read(cifar.Config(**options), 0, split), f"{split}: the label of row 5 ", "is -1", "4 classes (0 to 3)"
    )


class Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def test_a_pickle_that_calls_a_function_is_an_error_and_does_not_run(tmp_path: Path) -> None:
    options, mark = example(tmp_path), tmp_path / "mark"
    (tmp_path / "train").write_bytes(pickle.dumps({b"data": Attack(os.mkdir, str(mark))}, 2))
    assert_input_error(lambda: read(cifar.Config(**options), 0, "train"), "train", "not read", "posix.mkdir", "official source")
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        Attack(np.ndarray, (1,), "O", b"\x01" * 8),
        np.array([{}], dtype=object),
        np.zeros(1, dtype=[("a", "u1")]),
    ],
)
def test_an_array_of_other_than_numbers_is_an_error(tmp_path: Path, value: Any) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps({"data": value}, 4))
    with pytest.raises(InputError, match="cannot be read as a pickle"):
        _safe_pickle.read(tmp_path / "a")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "f8", "?"])
def test_arrays_are_read_unchanged(tmp_path: Path, dtype: str, order: Any) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype, order=order)
    for protocol in range(6):
        (tmp_path / "a").write_bytes(pickle.dumps({"data": array, "more": [1, "two", (3.0, None)]}, protocol))
        found = _safe_pickle.read(tmp_path / "a")
        assert found["data"].dtype == array.dtype and np.array_equal(found["data"], array)
        assert len(found["more"]) == 3


@pytest.mark.parametrize("kept", [1, 40, 5_000, 240_000])
def test_a_cut_off_pickle_is_an_error_with_its_size(tmp_path: Path, kept: int) -> None:
    options = example(tmp_path, protocol=4)
    cut(tmp_path / "train", kept)
    assert_input_error(lambda: read(cifar.Config(**options), 0, "train"), "train", f"cut off: it has {kept:,} bytes")


def test_the_error_of_a_cut_off_pickle_states_the_needed_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pickle.dumps({"data": b"x" * 100_000}, 4)[:1_000])
    with pytest.raises(InputError, match=r"has 1,000 bytes and needs at least 100,0\d\d"):
        _safe_pickle.read(tmp_path / "a")


def test_a_cut_off_binary_file_is_an_error_with_its_size(tmp_path: Path) -> None:
    options = cifar10(tmp_path, True)
    cut(tmp_path / "test_batch.bin", 10_000)
    assert_input_error(lambda: read(cifar.Config(**options), 0, "test"), "test_batch.bin", "10,000 bytes", "needs 12,292")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_out_of_range_is_an_error_with_its_row(tmp_path: Path, split: Any) -> None:
    options = cifar100_binary(tmp_path)
    content = bytearray((tmp_path / f"{split}.bin").read_bytes())
    content[3 * 3074 + 1] = 77
    (tmp_path / f"{split}.bin").write_bytes(content)
    assert_input_error(lambda: read(cifar.Config(**options), 0, split), f"{split}.bin", "row 3 ", "is 77", "4 classes (0 to 3)")


def test_missing_files_are_errors(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    options = example(folder)
    assert_input_error(
        lambda: read(cifar.Config(path=str(tmp_path / "cifar-100-pyton")), 0, "train"), "Did you mean 'cifar-100-python'"
    )
    assert_input_error(
        lambda: read(cifar.Config(path=str(tmp_path)), 0, "train"), "neither CIFAR-10", f"Did you mean '{folder}'"
    )
    (folder / "meta").unlink()
    assert_input_error(lambda: read(cifar.Config(**options), 0, "train"), "meta: missing")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
def test_the_real_cifar_100_is_read() -> None:
    config = cifar.Config(path=str(REAL), validation_share=0.1, per_class=5)
    train, test = read(config, 0, "train"), read(config, 0, "test")
    assert (len(train), len(test), train.num_classes) == (500, 10_000, 100)
    assert torch.bincount(test.labels.flatten()).tolist() == [100] * 100
    assert train.class_names[:2] == ("apple", "aquarium_fish")
    assert min(train.std) > 50 and max(train.mean) < 200


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_without_images_is_an_error(tmp_path: Path, protocol: int) -> None:
    options = example(tmp_path)
    nothing = {b"data": np.zeros((0, 3072), np.uint8), b"fine_labels": []}
    (tmp_path / "train").write_bytes(pickle.dumps(nothing, protocol))
    assert_input_error(lambda: read(cifar.Config(**options), 0, "train"), "train: the train split is empty")


def test_an_array_pickled_by_python_2_is_read(tmp_path: Path) -> None:
    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    state = b"(K\x01(K\x02K\x03t" + dtype + b"\x89" + text(bytes(range(6))) + b"tb"
    (tmp_path / "a").write_bytes(b"\x80\x02}" + text(b"data") + array + state + b"s.")
    assert _safe_pickle.read(tmp_path / "a")["data"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("binary", [True, False])
def test_all_broken_files_are_named_at_once_whatever_their_split(tmp_path: Path, binary: bool) -> None:
    options, ending = cifar10(tmp_path, binary), ".bin" if binary else ""
    cut(tmp_path / f"data_batch_1{ending}", 10_000)
    (tmp_path / f"data_batch_3{ending}").unlink()
    (tmp_path / f"data_batch_4{ending}").write_bytes(b"")
    cut(tmp_path / f"test_batch{ending}", 5_000)
    (tmp_path / ("batches.meta.txt" if binary else "batches.meta")).unlink()
    for split in ("train", "validation", "test"):
        assert_input_error(
            lambda split=split: read(cifar.Config(**options), 0, split),  # type: ignore[misc]
            "5 of 7 files cannot be read:", f"data_batch_1{ending}: ", f"data_batch_3{ending}: missing",
            f"data_batch_4{ending}: ", f"test_batch{ending}: ", "batches.meta",
        )  # fmt: skip


def test_a_missing_first_batch_is_named(tmp_path: Path) -> None:
    options = cifar10(tmp_path, False)
    (tmp_path / "data_batch_1").unlink()
    assert_input_error(lambda: read(cifar.Config(**options), 0, "train"), "data_batch_1: missing")
