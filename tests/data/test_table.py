from __future__ import annotations

import gzip
import os
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.data.common import assert_input_error, assert_unlabelled_are_training_examples, assert_well_split, cut
from tests.plain import Plain
from tutelage.data import _tables, table

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
    seen = train.seen()
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen[:, :2].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[:, :2].std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
    assert len(seen[:, 0].unique()) == 48
    assert (seen[:, 2:].sum(1) == 1).all()


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
    assert read(write(tmp_path, frame)).notes == ("left out the column 'note': it has another word in every row",)
    options = {**write(tmp_path, frame), "max_values": 40, "features": ["note"]}
    assert_input_error(lambda: read(options), "'note' has 48 different words", "max_values = 40")


def test_the_error_names_a_word_among_numbers(tmp_path: Path) -> None:
    frame = made().astype({"height": object})
    frame["height"] = [f"{value:.3f}" for value in frame["height"]]
    frame.loc[[17, 40, 41, 60], "height"] = "?"
    options = write(tmp_path, frame)
    assert_input_error(lambda: read(options), "'height' holds numbers, but '?' in row 17 ", "4 in all", 'missing: ["?"]')
    assert_input_error(lambda: read({**options, "missing": ["?"]}), "'height' holds '?' in row 17 ", "4 in all", "Fill them in")


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    frame = made().assign(kind=[(row % 4) * 5 for row in range(80)])
    assert read(write(tmp_path, frame)).class_names == ("0", "5", "10", "15")
    frame["kind"] = frame["kind"] + 0.5
    assert_input_error(lambda: read(write(tmp_path, frame)), "'kind' holds 0.5 in row 0", "must be integers")


@pytest.mark.parametrize("name", ["trees.csv", "trees.parquet"])
@pytest.mark.parametrize("column", ["height", "soil"])
def test_a_missing_value_is_an_error_with_its_column_and_row(tmp_path: Path, name: str, column: str) -> None:
    frame = made()
    frame.loc[[17, 40], column] = None
    assert_input_error(
        lambda: read(write(tmp_path, frame, name)), name, f"'{column}' has no value in row 17 ", "2 in all", "Fill them in"
    )


def test_an_unknown_column_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_input_error(
        lambda: read({**options, "label": "kid"}), "trees.csv", "no column 'kid'", "Did you mean 'kind'?", "height, planted"
    )
    assert_input_error(lambda: read({**options, "features": ["hieght"]}), "no column 'hieght'", "Did you mean 'height'?")
    assert_input_error(lambda: read({**options, "features": ["kind"]}), "'kind' is the label")
    assert_input_error(lambda: read({**options, "path": str(tmp_path / "tree.csv")}), "not there", "Did you mean 'trees.csv'?")


def test_tables_without_two_classes_or_with_times_are_errors(tmp_path: Path) -> None:
    assert_input_error(lambda: read(write(tmp_path, made().assign(kind="ash"))), "column 'kind'", "only the class 'ash'")
    assert_input_error(lambda: read(write(tmp_path, made(6).assign(kind=[*"aabbcc"]))), "the validation split is empty")
    assert_input_error(lambda: read(write(tmp_path, made().head(0))), "has no examples")
    options = write(tmp_path, made(), "trees.parquet")
    cut(tmp_path / "trees.parquet", 500)
    assert_input_error(lambda: read(options), "trees.parquet", "cannot be read as Parquet")
    times = made().assign(planted=pd.Timestamp("2026-01-01"))
    assert_input_error(lambda: read(write(tmp_path, times, "times.parquet")), "'planted' holds times")


def test_a_test_label_outside_the_training_classes_is_an_error_with_its_row(tmp_path: Path) -> None:
    test = made().head(8)
    test.loc[5, "kind"] = "fir"
    write(tmp_path, test, "test.csv")
    options = {**example(tmp_path), "test_path": str(tmp_path / "test.csv")}
    assert_input_error(
        lambda: read(options, "test"), "test.csv", "row 5 ", "is fir", "4 training classes (ash, birch, cedar, elm)"
    )


@pytest.mark.slow
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
    assert_input_error(
        lambda: read({**write(tmp_path, free, name)}), "column 'kind'", "no training example has a label", "Fill in"
    )


@pytest.mark.slow
def test_unlabelled_rows_do_not_change_the_splits_of_labelled_rows(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    before = example(tmp_path)
    after = write(tmp_path / "more", pd.concat([made(), made(87).tail(7).assign(kind=" ")]))
    assert_unlabelled_are_training_examples(lambda split: read(before, split), lambda split: read(after, split), more=7)


def test_a_word_that_may_mean_no_label_is_an_error(tmp_path: Path) -> None:
    frame = made()
    frame.loc[[17, 40], "kind"] = "None"
    assert_input_error(
        lambda: read(write(tmp_path, frame)), "'kind' holds 'None' in row 17 ", "2 in all", "a class or a missing label"
    )


@pytest.mark.parametrize("name", ["test.csv", "test.parquet"])
def test_a_test_row_must_be_labelled(tmp_path: Path, name: str) -> None:
    test = made().head(8)
    test.loc[5, "kind"] = None
    write(tmp_path, test, name)
    options = {**example(tmp_path), "test_path": str(tmp_path / name)}
    assert_input_error(
        lambda: read(options, "test"), name, "'kind' has no value in row 5 ", "Only training rows may be unlabelled"
    )


def test_a_fractional_label_is_an_error_with_its_row(tmp_path: Path) -> None:
    frame = made().assign(kind=[float(row % 4) for row in range(80)])
    frame.loc[[0, 1], "kind"], frame.loc[9, "kind"] = None, 0.5
    assert_input_error(lambda: read(write(tmp_path, frame)), "'kind' holds 0.5 in row 9 ")


def text(
    folder: Path, *columns: tuple[str, list[str]], delimiter: str = ",", encoding: str = "utf-8", quote: str = ""
) -> dict[str, Any]:
    """Write columns of text and a label `kind` as a CSV file of 80 rows; the values of a column are repeated."""
    head = delimiter.join([*(name for name, _ in columns), "kind"])
    rows = [[values[row % len(values)] for _, values in columns] + [CLASSES[row % 4]] for row in range(80)]
    lines = [delimiter.join(row) for row in rows]
    (folder / "text.csv").write_bytes("\n".join([head, *lines]).encode(encoding))
    return {"path": str(folder / "text.csv"), "label": "kind"}


def kinds(train: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {column.name: (column.kind, column.words) for column in train.field.columns}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_inferred_and_named(tmp_path: Path, delimiter: str) -> None:
    found = read(text(tmp_path, ("a", ["1", "2", "4"]), ("b", ["red", "green"]), delimiter=delimiter))
    assert kinds(found) == {"a": ("number", ()), "b": ("words", ("green", "red"))}
    names = {
        ",": (),
        ";": ("the delimiter is a semicolon",),
        "\t": ("the delimiter is a tab",),
        "|": ("the delimiter is a bar",),
    }
    assert found.notes == names[delimiter]


def test_encodings_are_read_by_their_first_bytes_or_by_name(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        found = read(text(tmp_path, ("straße", ["gelb", "grün"]), encoding=encoding))
        assert kinds(found) == {"straße": ("words", ("gelb", "grün"))}
    options = text(tmp_path, ("a", ["gelb", "grün"]), encoding="cp1252")
    assert_input_error(lambda: read(options), "text.csv: is not UTF-8", "Set 'encoding'", "cp1252")
    assert kinds(read({**options, "encoding": "cp1252"})) == {"a": ("words", ("gelb", "grün"))}
    assert_input_error(lambda: read({**options, "encoding": "ansi-x"}), "unknown encoding: ansi-x")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["3,5", "12,25", "1.000,5"], [3.5, 12.25, 1000.5]),
        (["1,234.5", "7", "1,000,000"], [1234.5, 7.0, 1e6]),
        (["0,125", "0,25", "3"], [0.125, 0.25, 3.0]),
        (["1\u00a0234,5", "2,0", "3,5"], [1234.5, 2.0, 3.5]),
        (["\u22123.5", "2", "1e3"], [-3.5, 2.0, 1000.0]),
        (["-1", " 2 ", "+3"], [-1.0, 2.0, 3.0]),
    ],
)
def test_numbers_in_text_are_read_as_their_owner_reads_them(tmp_path: Path, values: list[str], expected: list[float]) -> None:
    found = read(text(tmp_path, ("a", values), delimiter=";"))
    assert kinds(found) == {"a": ("number", ())}
    assert sorted(set(found.inputs[:, 0].tolist())) == sorted(expected)


def test_a_number_that_can_be_read_in_two_ways_is_an_error_unless_an_option_decides(tmp_path: Path) -> None:
    options = text(tmp_path, ("a", ["1,234", "5,678", "9"]), delimiter=";")
    assert_input_error(
        lambda: read(options), "'a' holds '1,234'", "above a thousand or one with a decimal comma", "Set 'decimal"
    )
    assert read({**options, "decimal": ","}).inputs.max() == 9.0
    assert read({**options, "thousands": ","}).inputs.max() == 5678.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2026-01-05", "2026-02-05"], ("'a' holds times, such as 2026-01-05", "'words'")),
        (["05/01/2026", "06/01/2026"], ("holds times",)),
        (["12:30", "12:45"], ("holds times",)),
        (["Jan 5, 2026", "6 February 2026"], ("holds times, such as Jan 5, 2026",)),
        (["1", "2", "3", "unknown"], ("holds numbers, but 'unknown' in row 3 ", "20 in all")),
        (["1,5", "2,5", "?", "3"], ("holds numbers, but '?' in row 2 ",)),
        (["$1.50", "$2.00"], ("holds numbers, but '$1.50' in row 0 ",)),
        (["12%", "15%"], ("holds numbers, but '12%' in row 0 ",)),
        (["1.2.3", "1.2.4"], ("holds numbers, but '1.2.3' in row 0 ",)),
        ([*"12345", *["none"] * 6], ("holds numbers, but 'none' in row 5 ",)),
    ],
)
def test_times_and_columns_of_numbers_and_words_are_errors_unless_named_as_words(
    tmp_path: Path, values: list[str], words: tuple[str, ...]
) -> None:
    options = text(tmp_path, ("a", values), ("b", ["1", "2"]), delimiter=";")
    assert_input_error(lambda: read(options), *words)
    assert kinds(read({**options, "words": ["a"]}))["a"] == ("words", tuple(sorted(set(values))))


def test_codes_with_leading_zeros_are_words_and_true_and_false_are_booleans(tmp_path: Path) -> None:
    found = read(text(tmp_path, ("zip", ["01234", "80331"]), ("old", ["true", "FALSE"]), ("size", ["S", "38", "M", "XL"])))
    assert kinds(found) == {
        "zip": ("words", ("01234", "80331")), "old": ("boolean", ()), "size": ("words", ("38", "M", "S", "XL")),
    }  # fmt: skip
    assert set(found.inputs[:, 2].tolist()) == {0.0, 1.0}


def test_row_numbers_identifiers_and_columns_without_a_name_are_left_out_with_a_note(tmp_path: Path) -> None:
    frame = made().sort_values("kind", ignore_index=True)
    shuffled = np.random.default_rng(1).permutation(80)
    frame = frame.assign(number=shuffled + 1, customer_id=shuffled * 7 + 5, name=[f"tree {n}" for n in shuffled])
    frame.to_csv(tmp_path / "trees.csv")
    options = {"path": str(tmp_path / "trees.csv"), "label": "kind"}
    found = read(options)
    assert list(kinds(found)) == ["height", "planted", "soil"]
    assert found.notes == (
        "left out the column '': it has no name", "left out the column 'number': it numbers the rows",
        "left out the column 'customer_id': it identifies the rows, by its name and its values",
        "left out the column 'name': it has another word in every row",
    )  # fmt: skip
    assert list(kinds(read({**options, "features": ["customer_id", "height"]}))) == ["customer_id", "height"]


def test_a_first_column_without_a_header_is_left_out(tmp_path: Path) -> None:
    frame = made()
    frame.to_csv(tmp_path / "trees.csv")
    content = (tmp_path / "trees.csv").read_text()
    (tmp_path / "trees.csv").write_text(content.removeprefix(","))
    assert read({"path": str(tmp_path / "trees.csv"), "label": "kind"}).notes == ("left out the column '': it has no name",)


def test_decimals_and_a_named_index_of_parquet_are_columns_of_numbers(tmp_path: Path) -> None:
    frame = made().assign(price=[Decimal(row % 7) / 4 for row in range(80)]).set_index("height")
    frame.to_parquet(tmp_path / "trees.parquet")
    found = read({"path": str(tmp_path / "trees.parquet"), "label": "kind"})
    assert {name: kind for name, (kind, _) in kinds(found).items()} == {
        "height": "number", "planted": "number", "soil": "words", "price": "number",
    }  # fmt: skip
    assert set(found.inputs[:, -1].tolist()) == {row / 4 for row in range(7)}


def test_a_row_with_more_or_fewer_cells_is_an_error_with_its_line(tmp_path: Path) -> None:
    lines = ["a,b,kind", *(f"{row % 7},{row % 3},{CLASSES[row % 4]}" for row in range(80))]
    options = {"path": str(tmp_path / "rows.csv"), "label": "kind"}
    (tmp_path / "rows.csv").write_text("\n".join([*lines[:30], "1,2,ash,9", *lines[31:]]))
    assert_input_error(lambda: read(options), "Expected 3 fields in line 31, saw 4")
    (tmp_path / "rows.csv").write_text("\n".join([*lines[:30], "1", *lines[31:]]))
    assert_input_error(lambda: read(options), "row 29 (the first is 0) has 1 of 3 cells")
    (tmp_path / "rows.csv").write_text("\n".join([*lines, "1,2"]))  # cut off: the label is missing
    assert_input_error(lambda: read(options), "row 80 (the first is 0) has 2 of 3 cells", "Is the file complete?")


def test_an_infinite_number_of_any_split_is_an_error(tmp_path: Path) -> None:
    options = text(tmp_path, ("a", ["1", "2", "3", "4", "inf"]))
    assert_input_error(lambda: read(options), "column 'a' holds 'inf' in row 4 ")


def test_a_column_that_repeats_the_label_is_noted(tmp_path: Path) -> None:
    frame = made().assign(code=[row % 4 + 10 for row in range(80)])
    note = "the column 'code' alone determines the class of every row: is it the label in other words?"
    assert read(write(tmp_path, frame)).notes == (note,)


def test_lists_in_parquet_are_an_error(tmp_path: Path) -> None:
    frame = made().assign(pair=[[1, 2]] * 80)
    assert_input_error(lambda: read(write(tmp_path, frame, "trees.parquet")), "column 'pair' holds values of type ndarray")


def test_a_separately_stored_test_row_has_its_own_values_and_class(tmp_path: Path) -> None:
    test = made().sample(frac=1, random_state=1).head(30)
    write(tmp_path, test, "test.csv")
    options = {**example(tmp_path), "test_path": str(tmp_path / "test.csv")}
    found, train = read(options, "test"), read(options)
    assert [CLASSES[label] for label in found.labels.flatten()] == test["kind"].tolist()
    heights = found.inputs[:, 0].numpy()
    assert np.corrcoef(heights, test["height"])[0, 1] > 0.999999
    assert (found.mean, found.std) == (train.mean, train.std), "normalised by training"


@pytest.mark.slow
def test_a_text_that_swells_is_an_error_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 2**20, "SC_PHYS_PAGES": 30}.__getitem__)
    for name, content in (
        ("rows.csv.gz", b"a,b\n" + b"1,x\n" * 2**23),
        ("line.csv.gz", bytes(2**25)),
        ("no.csv", b"1" * 2**25),
    ):
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        tracemalloc.start()
        assert_input_error(
            lambda name=name: _tables.read(tmp_path / name, _tables.FormatConfig()), name, "this machine's memory"
        )
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        tracemalloc.stop()


def test_an_endless_line_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "line.csv.gz").write_bytes(gzip.compress(bytes(2**24 + 1)))
    assert_input_error(
        lambda: _tables.read(tmp_path / "line.csv.gz", _tables.FormatConfig()), "more than 16,777,216 characters"
    )


@pytest.mark.slow
@pytest.mark.parametrize("column", [np.zeros(5_000_000), ["word " * 200] * 200_000], ids=["numbers", "words"])
def test_a_parquet_file_that_swells_is_an_error_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: Any
) -> None:
    path = tmp_path / "swollen.parquet"
    pq.write_table(pa.table({"x": column}), path, compression="zstd")
    assert path.stat().st_size < 200_000
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 2**20, "SC_PHYS_PAGES": 30}.__getitem__)
    monkeypatch.setattr(pd, "read_parquet", None)
    assert_input_error(lambda: _tables.read(path, _tables.FormatConfig()), "swollen.parquet", "this machine's memory")


def test_a_file_is_read_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    rows.to_parquet(tmp_path / "rows.pq")
    (tmp_path / "packed.csv").write_bytes(gzip.compress(b"a,b\n1,x\n2,y\n"))
    for name in ("rows.pq", "packed.csv"):
        assert _tables.read(tmp_path / name, _tables.FormatConfig()).cells.astype(str).equals(rows.astype(str))
    for content, what in ((b"PK\x03\x04...", "Excel"), (b"BZh9...", "bzip2"), (b"ARROW1..", "Arrow")):
        (tmp_path / "rows.csv").write_bytes(content)
        assert_input_error(lambda: _tables.read(tmp_path / "rows.csv", _tables.FormatConfig()), what, "Save the table as .csv")
    assert_input_error(lambda: _tables.read(tmp_path, _tables.FormatConfig()), "is a folder")


def test_both_files_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    options = {**example(tmp_path), "test_path": str(tmp_path / "test.csv")}
    for name in ("trees.csv", "test.csv"):
        (tmp_path / name).write_bytes(b"BZh9")
    for split in ("train", "test"):
        assert_input_error(
            lambda split=split: read(options, split), "2 of 2 files", "trees.csv: is packed", "test.csv: is packed"
        )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_found_without_a_mark_too(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "rows.csv").write_bytes("x,größe,kind\n1,2,ash\n".encode(encoding))
    assert list(_tables.read(tmp_path / "rows.csv", _tables.FormatConfig()).cells.columns) == ["x", "größe", "kind"]


def test_a_first_line_that_states_the_delimiter_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"sep=;\r\nx;kind\r\n1,5;ash\r\n2,5;elm\r\n")
    found = _tables.read(tmp_path / "rows.csv", _tables.FormatConfig())
    assert found.cells.to_numpy().tolist() == [["1,5", "ash"], ["2,5", "elm"]]


def test_classes_that_are_too_small_or_alike_are_noted(tmp_path: Path) -> None:
    frame = made()
    frame.loc[0, "kind"], frame.loc[1:9, "kind"] = "yew", "Elm"
    frame.loc[0, "soil"] = "Clay"
    notes = " | ".join(read(write(tmp_path, frame)).examples.notes)
    assert "classes without an example in validation, as they have fewer than three in all: 'yew' (1)" in notes
    assert "without an example in test" in notes and "classes that differ in case or blanks only: 'Elm' and 'elm'" in notes
    assert "words of the column 'soil' that differ in case or blanks only: 'Clay' and 'clay'" in notes
    assert not any("differ" in note or "without" in note for note in read(example(tmp_path)).examples.notes)


def test_whole_numbers_that_float64_cannot_tell_apart_are_an_error(tmp_path: Path) -> None:
    identifiers = [10**18 + 7 * (row * 31 % 80) for row in range(80)]
    for name in ("trees.csv", "trees.parquet"):
        options = write(tmp_path, made().assign(tag=identifiers), name)
        assert_input_error(lambda options=options: read(options), "column 'tag' holds whole numbers of too many digits")
        assert "tag" in [
            column.name for column in read({**options, "words": ["tag"], "features": ["tag"]}).examples.inputs["inputs"].columns
        ]
    far = made().assign(tag=[10**18 * (row % 7) for row in range(80)])
    assert read(write(tmp_path, far)).inputs.shape[1] == 6


def test_a_column_of_one_value_is_noted_and_an_infinite_number_is_no_other_type(tmp_path: Path) -> None:
    train = read(write(tmp_path, made().assign(site=5)))
    assert "the column 'site' has one value in training: 5" in train.examples.notes
    frame = made().astype({"height": object})
    frame.loc[3, "height"] = "inf"
    assert_input_error(lambda: read(write(tmp_path, frame)), "holds 'inf' in row 3", "no finite number")
