"""Lines are read in one height with their texts; all that is wrong is named at once, with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.common import assert_input_error
from tutelage.data import Examples, Ragged, line_images
from tutelage.data._lines import line_examples


def write(folder: Path, texts: dict[str, str], size: tuple[int, int] = (40, 16)) -> None:
    """Write an image a text, each in a grey level of its own, and the transcript file."""
    folder.mkdir(exist_ok=True, parents=True)
    for number, name in enumerate(texts):
        pixels = np.full((size[1], size[0]), (sum(map(ord, name)) + 7 * number) % 256, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "transcripts.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in texts.items()), encoding="utf-8")


def example(folder: Path) -> dict[str, Any]:
    write(folder, {f"{number}.png": "abba"[: 1 + number % 4] + "ab" for number in range(36)}, (40, 8))
    return {"path": str(folder), "height_px": 8, "validation_share": 0.2, "test_share": 0.2}


def read(folder: Path, split: Any = "train", **options: Any) -> Examples:
    return line_images.read(line_images.Config(path=str(folder), **options), 0, split)


def folders(folder: Path, **others: dict[str, str]) -> Path:
    write(folder / "train", {f"{number}.png": "ab cd" for number in range(6)})
    for name, texts in others.items():
        write(folder / name, texts)
    return folder


def text(examples: Examples, row: int = 0) -> str:
    field = examples.targets["text"]
    assert isinstance(field.values, Ragged)
    return "".join(field.names[one] for one in field.values.take(torch.tensor([row])).values.tolist())


def test_a_text_is_composed_and_a_name_is_that_of_the_file(tmp_path: Path) -> None:
    """A letter with a combining accent is one character of a text; some systems write such letters into names of files too."""
    folders(tmp_path, val={"cafe\u0301.png": "abe\u0301"})
    write(tmp_path / "train", {f"{number}.png": "ab\u00e9" for number in range(6)})
    assert text(read(tmp_path, "validation")) == "ab\u00e9"


def test_an_image_is_scaled_to_the_height_and_stored_by_columns(tmp_path: Path) -> None:
    folders(tmp_path, val={"x.png": "dab"})
    (tmp_path / "val/y.png").write_bytes((tmp_path / "val/x.png").read_bytes())
    found = read(tmp_path, "validation")
    assert found.input_specs[0].shape == ("columns_steps", 1, 32) and found.lengths is not None
    assert found.lengths.tolist() == [80], "twice as high, so twice as wide"
    assert text(found) == "dab" and found.targets["text"].names == (" ", "a", "b", "c", "d")
    level = np.asarray(Image.open(tmp_path / "val/x.png"))[0, 0]
    batch = found.take(slice(None))
    torch.testing.assert_close(batch.inputs["columns"], torch.full((1, 80, 1, 32), level / 127.5 - 1))
    assert any(note.startswith("left out 1 images that") for note in found.notes)


def test_columns_go_from_left_to_right_and_rows_from_top_to_bottom() -> None:
    found = line_examples([np.array([[0, 1, 2], [3, 4, 5]], dtype=np.uint8)], ["a"], "a", ())
    values = found.inputs["columns"].values
    assert isinstance(values, Ragged) and values.values.tolist() == [[[0, 3]], [[1, 4]], [[2, 5]]]


def test_a_narrow_image_is_padded_to_two_steps_of_any_stride(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.png": "a" if number % 2 else "b" for number in range(9)}, (4, 16))
    assert read(tmp_path, validation_share=0.3, test_share=0.3).take(slice(None)).inputs["columns"].shape[1] == 16


def test_all_wrong_lines_of_all_folders_are_named_at_once(tmp_path: Path) -> None:
    folders(tmp_path, val={"x.png": "ab"})
    (tmp_path / "train/transcripts.tsv").write_text("0.png ab\n1.png\t \n2.png\tab\n2.png\tcd\n9.png\tab\n")
    (tmp_path / "val/transcripts.tsv").write_text("")
    for split in ("train", "validation"):
        assert_input_error(
            lambda split=split: read(tmp_path, split),  # type: ignore[misc]
            "2 of 2 folders", "4 of 5 lines", "train/transcripts.tsv, line 1: has no tab", "line 2: has no text for 1.png",
            "line 4: 2.png stands in line 3 too", "line 5: there is no image", "train/9.png", "val/transcripts.tsv: is empty",
        )  # fmt: skip


def test_unknown_characters_are_named_with_their_lines(tmp_path: Path) -> None:
    folders(tmp_path, val={"x.png": "ab", "y.png": "aé"})
    assert_input_error(lambda: read(tmp_path, "validation"), "val/transcripts.tsv, line 2", "'é' (U+00E9)")


def test_a_composed_character_is_one_however_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.png": "é" if number % 2 else "e\u0301" for number in range(9)})
    assert read(tmp_path, validation_share=0.3, test_share=0.3).targets["text"].names == ("é",)


def test_images_that_cannot_be_read_or_are_too_narrow_or_too_wide_are_named(tmp_path: Path) -> None:
    folders(tmp_path)
    write(tmp_path / "train", {"n.png": "aabb" * 9, **{f"{number}.png": "ab cd" for number in range(30)}}, (4, 16))
    (tmp_path / "train/3.png").write_bytes(b"no image")
    assert_input_error(
        lambda: read(tmp_path, validation_share=0.01, test_share=0.01),
        "train/3.png: cannot be read as an image", "train/n.png: has 8 columns", "its text of 36 characters needs 54",
    )  # fmt: skip
    assert_input_error(lambda: read(folders(tmp_path / "other"), widest_px=16), "has 80 columns", "'widest_px' is 16")


def test_a_missing_transcript_file_names_the_nearest(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "train/transcripts.tsv").rename(tmp_path / "train/transcript.tsv")
    assert_input_error(lambda: read(tmp_path), "train/transcripts.tsv: is not there", "transcript.tsv")
    (tmp_path / "train/transcript.tsv").write_bytes(b"1.png\t\xe9\n")
    assert_input_error(lambda: read(tmp_path, transcripts="transcript.tsv"), "is not UTF-8")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits_without_folders_share_no_line(tmp_path: Path, split: Any) -> None:
    options = example(tmp_path)
    assert len(line_images.read(line_images.Config(**options), 0, split)) == {"train": 22, "validation": 7, "test": 7}[split]


def test_windows_line_ends_and_a_mark_of_the_byte_order_are_no_part_of_names_or_texts(tmp_path: Path) -> None:
    folders(tmp_path)
    file = tmp_path / "train/transcripts.tsv"
    lines = file.read_text().splitlines()
    file.write_bytes(("\ufeff" + "".join(f"{line}\r\n" for line in lines)).encode())
    assert read(tmp_path).targets["text"].names == (" ", "a", "b", "c", "d")


def test_an_image_under_two_names_or_outside_of_the_folder_and_a_further_column_are_errors(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "train/transcripts.tsv").write_text(
        f"0.png\tab\n./0.png\tab\n../train/1.png\tab\n{tmp_path / 'train/1.png'}\tab\n1.png\tab\tc\n\n\tab\n"
    )
    assert_input_error(
        lambda: read(tmp_path), "line 2: ./0.png stands in line 1 too", "line 3: '../train/1.png' is no path", "line 4: '/",
        "line 5: has more than one tab", "line 6: has no tab. Write the image's name, a tab, and its text. Or remove the empty",
        "line 7: has no name before its tab",
    )  # fmt: skip


def test_a_character_of_the_folder_is_a_class_though_only_a_drawn_split_has_it(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.png": chr(ord("a") + number) for number in range(12)})
    for split in ("train", "validation", "test"):
        assert read(tmp_path, split, validation_share=0.2, test_share=0.2).targets["text"].names == tuple("abcdefghijkl")


def test_blanks_at_an_end_and_quotation_marks_are_noted(tmp_path: Path) -> None:
    write(
        tmp_path, {f"{number}.png": text for number, text in enumerate(["ab", " ab", "ab ", '"ab"', '"', "a b", "a\u200b"] * 3)}
    )
    file = tmp_path / "transcripts.tsv"
    assert list(read(tmp_path).notes)[-3:] == [
        f"6 texts of {file} begin or end with a blank, which counts as a character (first in line 2)",
        f"3 texts of {file} have characters that cannot be seen (first in line 7)",
        f"3 texts of {file} stand in quotation marks, which count as characters; programs that write tables add them (first in "
        "line 4)",
    ]


def test_a_name_with_its_accents_apart_names_the_file_that_is_there(tmp_path: Path) -> None:
    write(tmp_path, {"caf\u00e9.png": "ab"})
    (tmp_path / "transcripts.tsv").write_text("cafe\u0301.png\tab\n")
    assert_input_error(lambda: read(tmp_path), "line 1: there is no image", "Did you mean 'caf\u00e9.png'?")
