"""Images of lines of text, each with its text, in folders with a file `transcripts.tsv`; train, val and test are optional.

A line of the file is the name of an image, a tab, and its text. Images that the file does not name are left out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field as Option

from tutelage.data import Examples, SplitName
from tutelage.data._broken import all_in_one, attempt, errors_in, read_all
from tutelage.data._decode import upright
from tutelage.data._folders import is_file, split_folders
from tutelage.data._image_files import misnamed, unnamed
from tutelage.data._lines import line_examples, note_on_lines, steps_needed
from tutelage.data._splitting import draw, how_split
from tutelage.errors import InputError, nearest
from tutelage.files import existing_folder, read_lines
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
LEAST_COLUMNS = 16  # narrower images are padded to: an exported network takes two steps or more


class Config(PluginConfig):
    """The path of the lines, and their size: an image is scaled to `height_px`, its width in proportion."""

    path: str = Option(description="the folder with the images and their texts, or with folders train, val and test of such")
    transcripts: str = Option(
        "transcripts.tsv", min_length=1, description="the file of each folder with a name, a tab and a text a line"
    )
    height_px: int = Option(32, ge=4, le=1024, description="height of a line as a network takes it, pixels")
    widest_px: int = Option(2048, ge=16, le=65_536, description="most columns of a line at that height")
    not_rgb: Literal["refuse", "convert"] = Option("convert", description="what to do with a grey, palette or CMYK image")
    animated: Literal["refuse", "first"] = Option("refuse", description="what to do with an image of several frames or pages")
    background: Literal["white", "black"] = Option("white", description="what transparent images are put on")
    validation_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the lines without a val folder")
    test_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the lines without a test folder")


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The lines in `folder` that a transcript file names: the image of each, its text, and where the text stands."""

    folder: Path
    file: Path
    images: list[Path]
    texts: list[str]
    numbers: list[int]

    def take(self, rows: Sequence[int]) -> Lines:
        """Return the lines `rows`."""
        images, texts = [self.images[row] for row in rows], [self.texts[row] for row in rows]
        return replace(self, images=images, texts=texts, numbers=[self.numbers[row] for row in rows])


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: ragged `columns` `[columns, 1, height_px]`, grey levels in [-1, 1], and the ragged target `text`.

    The characters are those of the training lines. Raises `InputError` for all that is wrong at once: lines without a tab, a
    text or an image, names that stand twice, images that cannot be read or are too narrow for their text, and characters that
    training does not have.
    """
    root = existing_folder(config.path)
    roots = split_folders(root) or {"train": root}
    wanted: list[SplitName] = ["train", *([split] if split in roots and split != "train" else [])]
    others = [partial(_named_lines, roots[name], config) for name in roots if name not in wanted]
    training, *own = read_all([partial(_named_lines, roots[name], config) for name in wanted], others, what="folders")
    shares = (
        None if "validation" in roots else config.validation_share, None if "test" in roots else config.test_share,
    )  # fmt: skip
    drawn = draw(np.zeros(len(training.texts), dtype=np.int64), seed, *shares, str(training.file))
    characters = sorted({one for text in training.texts for one in text})
    chosen = own[0] if own else training.take(getattr(drawn, split).tolist())
    _check_known(chosen, characters)
    images = _read_images(chosen, config)
    whole = own[0] if own else training
    notes = (
        *how_split(*shares, what="the lines"), note_on_lines(split, images, chosen.texts, characters),
        *unnamed(whole.folder, whole.images, whole.file), *_odd_texts(whole),
    )  # fmt: skip
    return line_examples(images, list(chosen.texts), characters, notes)


def _named_lines(folder: Path, config: Config) -> Lines:
    """Return the lines of a folder. Raises `InputError` for all wrong lines of its file."""
    file = folder / config.transcripts
    if not is_file(file):
        hint = nearest(file.name, [one.name for one in folder.iterdir() if one.is_file()])
        raise InputError(
            f"{file}: is not there.{hint} It has a line for each image: the image's name, a tab, and its text. The option "
            "'transcripts' is its name."
        )
    rows = read_lines(file)
    found = [row.partition("\t") for row in rows]
    parts = [(name, tab, unicodedata.normalize("NFC", text)) for name, tab, text in found]  # a file may have a name in NFD
    faults = misnamed(folder, [name for name, tab, _ in parts if tab])
    first: dict[Path, int] = {}
    wrong = []
    for number, (name, tab, text) in enumerate(parts, start=1):
        wrong += [InputError(f"{file}, line {number}: {fault}") for fault in _faults(name, tab, text, first.get(Path(name)))]
        wrong += [InputError(f"{file}, line {number}: {faults[name]}")] if tab and name.strip() and name in faults else []
        first.setdefault(Path(name), number)
    if wrong or not rows:
        empty = InputError(f"{file}: is empty. Write a line for each image: its name, a tab, and its text.")
        raise all_in_one(wrong or [empty], len(rows), "lines")
    names, texts = [name for name, _, _ in parts], [text for _, _, text in parts]
    return Lines(
        folder=folder, file=file, images=[folder / name for name in names], texts=texts, numbers=[*range(1, 1 + len(rows))]
    )


def _faults(name: str, tab: str, text: str, earlier: int | None) -> Iterator[str]:
    """Give a sentence for everything that is wrong in a line of a transcript file; `earlier` is one with the same image."""
    if tab and not name.strip():
        yield "has no name before its tab. Write the image's name, a tab, and its text."
    elif not tab:
        yield f"has no tab. Write the image's name, a tab, and its text.{'' if name.strip() else ' Or remove the empty line.'}"
    elif not text.strip():
        yield f"has no text for {name}. Write it, or remove the line."
    elif "\t" in text:
        yield f"has more than one tab. Write the image's name, a tab, and its text: {text!r:.40} is no text."
    if tab and earlier:
        yield f"{name} stands in line {earlier} too. Remove one of them."


def _check_known(lines: Lines, characters: Sequence[str]) -> None:
    """Raise one `InputError` for all lines with a character that the training file does not have."""
    known, wrong = set(characters), []
    remedy = "Correct or remove this line, or add lines with such characters to training."
    for number, text in zip(lines.numbers, lines.texts, strict=True):
        if strange := sorted(set(text) - known):
            listed = ", ".join(f"'{one}' (U+{ord(one):04X})" for one in strange)
            wrong.append(InputError(f"{lines.file}, line {number}: the training file does not have {listed}. {remedy}"))
    if wrong:
        raise all_in_one(wrong, len(lines.texts), "lines")


def _odd_texts(lines: Lines) -> list[str]:
    """Return sentences on texts with characters that their images may not show: blanks at an end, quotation marks around."""
    pairs = [*zip(lines.numbers, lines.texts, strict=True)]
    blank = [number for number, text in pairs if text != text.strip()]
    unseen = [number for number, text in pairs if not text.replace(" ", "").isprintable()]
    quoted = [number for number, text in pairs if len(text) > 1 and text[0] == text[-1] == '"']
    found = {"begin or end with a blank, which counts as a character": blank,
             "have characters that cannot be seen": unseen,
             "stand in quotation marks, which count as characters; programs that write tables add them": quoted}  # fmt: skip
    return [f"{len(one):,} texts of {lines.file} {what} (first in line {one[0]})" for what, one in found.items() if one]


def _read_images(lines: Lines, config: Config) -> list[np.ndarray]:
    """Return every line's grey levels, uint8 `[height_px, columns]`. Raises one `InputError` for all that cannot be read."""
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(lambda row: attempt(lambda: _grey(lines, row, config)), range(len(lines.images))))
    if wrong := errors_in(found):
        raise all_in_one(wrong, len(found), "images")
    return [image for image in found if not isinstance(image, InputError)]


def _grey(lines: Lines, row: int, config: Config) -> np.ndarray:
    path, text = lines.images[row], lines.texts[row]
    image = upright(path, config.not_rgb, config.background, config.animated).convert("L")
    columns = max(1, round(image.width * config.height_px / image.height))
    if columns > config.widest_px:
        raise InputError(
            f"{path}: has {columns:,} columns at a height of {config.height_px} px; the option 'widest_px' is "
            f"{config.widest_px:,}. Raise it, or cut the image into several lines."
        )
    if columns < (needed := steps_needed(text)):
        raise InputError(
            f"{path}: has {columns} columns at a height of {config.height_px} px, and its text of {len(text)} characters needs "
            f"{needed} ({lines.file}, line {lines.numbers[row]}). Raise 'height_px', or correct the text."
        )
    pixels = np.asarray(image.resize((columns, config.height_px), Image.Resampling.BILINEAR))
    return np.pad(pixels, ((0, 0), (0, max(0, LEAST_COLUMNS - columns))), mode="edge")
