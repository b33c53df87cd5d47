from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.data.common import assert_unlabelled_are_training_examples, assert_well_split, cut, refused
from tests.plain import Plain
from tutelage.data import table

CLASSES = ("ash", "birch", "cedar", "elm")


def made(count: int = 80) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": draw.normal(20, 5, count),
            "planted": draw.integers(1_600_000_000, 1_700_000_000, count),
            "soil": [("clay", "sand", "loam")[row // 4 % 3] for row in range(count)],
            "kind": [CLASSES[row % 4] for row in range(count)],
        }
    )


def write(folder: Path, frame: pd.DataFrame, name: str = "trees.csv") -> dict[str, Any]:
    frame.to_parquet(folder / name) if name.endswith("parquet") else frame.to_csv(folder / name, index=False)
    return {"path": str(folder / name), "label": "kind", "validation_share": 0.2, "test_share": 0.2}


def example(folder: Path) -> dict[str, Any]:
    return write(folder, made())


def read(options: dict[str, Any], split: Any = "train", seed: int = 0) -> Any:
    return Plain(table.read(table.Config(**options), seed, split))


@pytest.mark.parametrize("name", ["trees.csv", "trees.csv.gz", "trees.parquet"])
def test_numbers_are_standardised_and_words_one_hot(tmp_path: Path, name: str) -> None:
    train = read(write(tmp_path, made(), name))
    assert train.class_names == CLASSES
    assert train.inputs.shape == (48, 5)
    assert train.inputs.dtype == torch.float32
    torch.testing.assert_close(train.inputs[:, :2].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.inputs[:, :2].std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert len(train.inputs[:, 0].unique()) == 48
    assert (train.inputs[:, 2:].sum(1) == 1).all()


def test_every_row_has_its_own_values_and_class(tmp_path: Path) -> None:
    frame = made()
    splits = [read(example(tmp_path), split) for split in ("train", "validation", "test")]
    inputs, labels = torch.cat([s.inputs for s in splits]).numpy(), torch.cat([s.labels for s in splits]).flatten().numpy()
    order, known = np.argsort(inputs[:, 0]), frame.sort_values("height")
    assert [CLASSES[label] for label in labels[order]] == known["kind"].tolist()
    assert [("clay", "loam", "sand")[word] for word in inputs[order, 2:].argmax(1)] == known["soil"].tolist()
    assert np.corrcoef(inputs[order, 1], known["planted"])[0, 1] > 0.999999


def test_it_is_split_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_well_split(lambda seed, split: read({**options, "test_share": 0.1}, split, seed), 0.22, drawn=72)


def test_a_word_absent_from_training_is_all_zeros(tmp_path: Path) -> None:
    test = made().head(8).assign(soil="peat")
    write(tmp_path, test, "test.csv")
    found = read({**example(tmp_path), "test_path": str(tmp_path / "test.csv")}, "test")
    assert len(found) == 8
    assert not found.inputs[:, 2:].any()


def test_features_selects_columns_and_booleans_are_numbers(tmp_path: Path) -> None:
    frame = made().assign(tall=made()["height"] > 20, note=[f"tree {row}" for row in range(80)])
    assert read({**write(tmp_path, frame), "features": ["tall", "height"]}).inputs.shape == (48, 2)
    options = {**write(tmp_path, frame), "max_values": 40}
    refused(lambda: read(options), "'note' has 48 different words", "max_values = 40")


def test_the_error_names_a_word_among_numbers(tmp_path: Path) -> None:
    frame = made().astype({"height": object})
    frame["height"] = [f"{value:.3f}" for value in frame["height"]]
    frame.loc[[17, 40, 41, 60], "height"] = "?"
    frame.loc[:, "kind"] = [CLASSES[row % 4] for row in range(80)]
    options = {**write(tmp_path, frame), "max_values": 40, "validation_share": 0.01, "test_share": 0.01}
    refused(lambda: read(options), "'height' has", "different words", "Most are numbers, but '?' in row", "is not.")


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    frame = made().assign(kind=[(row % 4) * 5 for row in range(80)])
    assert read(write(tmp_path, frame)).class_names == ("0", "5", "10", "15")
    frame["kind"] = frame["kind"] + 0.5
    refused(lambda: read(write(tmp_path, frame)), "'kind' holds 0.5 in row 0", "must be integers")


@pytest.mark.parametrize("name", ["trees.csv", "trees.parquet"])
@pytest.mark.parametrize("column", ["height", "soil"])
def test_a_missing_value_is_an_error_with_its_column_and_row(tmp_path: Path, name: str, column: str) -> None:
    frame = made()
    frame.loc[[17, 40], column] = None
    refused(lambda: read(write(tmp_path, frame, name)), name, f"'{column}' holds nan in row 17 ", "2 in all", "Fill them in")


def test_an_unknown_column_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    options = example(tmp_path)
    refused(
        lambda: read({**options, "label": "kid"}), "trees.csv", "no column 'kid'", "Did you mean 'kind'?", "height, planted"
    )
    refused(lambda: read({**options, "features": ["hieght"]}), "no column 'hieght'", "Did you mean 'height'?")
    refused(lambda: read({**options, "features": ["kind"]}), "'kind' is the label")
    refused(lambda: read({**options, "path": str(tmp_path / "tree.csv")}), "not there", "Did you mean 'trees.csv'?")


def test_tables_without_two_classes_or_with_times_are_errors(tmp_path: Path) -> None:
    refused(lambda: read(write(tmp_path, made().assign(kind="ash"))), "column 'kind'", "only the class 'ash'")
    refused(lambda: read(write(tmp_path, made(6).assign(kind=[*"aabbcc"]))), "the validation split is empty")
    refused(lambda: read(write(tmp_path, made().head(0))), "has no examples")
    options = write(tmp_path, made(), "trees.parquet")
    cut(tmp_path / "trees.parquet", 500)
    refused(lambda: read(options), "trees.parquet", "cannot be read as Parquet")
    times = made().assign(planted=pd.Timestamp("2026-01-01"))
    refused(lambda: read(write(tmp_path, times, "times.parquet")), "'planted' holds times")


def test_a_test_label_outside_the_training_classes_is_an_error_with_its_row(tmp_path: Path) -> None:
    test = made().head(8)
    test.loc[5, "kind"] = "fir"
    write(tmp_path, test, "test.csv")
    options = {**example(tmp_path), "test_path": str(tmp_path / "test.csv")}
    refused(lambda: read(options, "test"), "test.csv", "row 5 ", "is fir", "4 training classes (ash, birch, cedar, elm)")


@pytest.mark.parametrize("name", ["trees.csv", "trees.csv.gz", "trees.parquet"])
@pytest.mark.parametrize("kinds", [CLASSES, (0, 5, 10, 15), (False, True, False, True)])
def test_unlabelled_rows_are_training_examples(tmp_path: Path, name: str, kinds: tuple[Any, ...]) -> None:
    frame = made().assign(kind=[kinds[row % 4] for row in range(80)])
    free = made(87).tail(7).assign(kind=None)
    (tmp_path / "more").mkdir()
    before = write(tmp_path, frame, name)
    joined = pd.concat([frame.astype({"kind": object}), free.astype({"kind": object})]).sort_values("height")
    if kinds != CLASSES and name.endswith("parquet"):
        joined["kind"] = joined["kind"].astype("Int64" if kinds[1] == 5 else "boolean")
    after = write(tmp_path / "more", joined, name)
    train = read(after)
    assert train.class_names == read(before).class_names
    assert len(train) == 55 and train.num_labelled == 48
    assert [read(after, split).num_labelled for split in ("validation", "test")] == [16, 16]
    heights = sorted(free["height"])
    found = sorted(train.inputs[~train.labelled][:, 0].tolist())
    assert np.corrcoef(heights, found)[0, 1] > 0.999999
    refused(lambda: read({**write(tmp_path, free, name)}), "column 'kind'", "no training example has a label", "Fill in")


def test_unlabelled_rows_do_not_change_the_splits_of_labelled_rows(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    before = example(tmp_path)
    after = write(tmp_path / "more", pd.concat([made(), made(87).tail(7).assign(kind=" ")]))
    assert_unlabelled_are_training_examples(lambda split: read(before, split), lambda split: read(after, split), more=7)


def test_a_word_that_may_mean_no_label_is_an_error(tmp_path: Path) -> None:
    frame = made()
    frame.loc[[17, 40], "kind"] = "None"
    refused(lambda: read(write(tmp_path, frame)), "'kind' holds 'None' in row 17 ", "2 in all", "a class or a missing label")


@pytest.mark.parametrize("name", ["test.csv", "test.parquet"])
def test_a_test_row_must_be_labelled(tmp_path: Path, name: str) -> None:
    test = made().head(8)
    test.loc[5, "kind"] = None
    write(tmp_path, test, name)
    options = {**example(tmp_path), "test_path": str(tmp_path / name)}
    refused(lambda: read(options, "test"), name, "'kind' holds nan in row 5 ", "Only training rows may be unlabelled")


def test_a_fractional_label_is_an_error_with_its_row(tmp_path: Path) -> None:
    frame = made().assign(kind=[float(row % 4) for row in range(80)])
    frame.loc[[0, 1], "kind"], frame.loc[9, "kind"] = None, 0.5
    refused(lambda: read(write(tmp_path, frame)), "'kind' holds 0.5 in row 9 ")
