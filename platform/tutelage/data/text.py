"""Texts with a class each: JSON lines or the rows of a table, in a file or in a file a split, or files in a folder a class.

Texts in a folder `unlabelled`, next to the folders of the training classes, are unlabelled training examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field as Option
from pydantic import model_validator

from tutelage.data import UNKNOWN, Examples, Field, SplitName
from tutelage.data import _tables as tables
from tutelage.data._broken import all_in_one, attempt, read_all
from tutelage.data._folders import split_files
from tutelage.data._labels import check_classes, is_text, no_labels
from tutelage.data._splitting import check_rows, draw, notes_on_split
from tutelage.data._text_folders import has_class_folders, left_out, read_texts
from tutelage.data._word_pattern import words_in
from tutelage.data._words import Vocabulary, vocabulary_as, vocabulary_of
from tutelage.errors import InputError, nearest
from tutelage.files import existing, read_lines
from tutelage.plugins import PluginConfig
from tutelage.signature import InputSpec

SPACE: dict[str, dict[str, object]] = {}
JSON_LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv", ".parquet")


class Config(PluginConfig):
    """The path of the texts, their columns, which words are known, and what becomes of long texts."""

    path: str = Option(
        description="a file of JSON lines (.jsonl) or a table (.csv, .tsv, .parquet); a folder with the files train, and "
        "optionally valid and test; or a folder with one folder a class, or with folders train, val and test of such folders"
    )
    text: str = Option("text", description="the key or column of the text")
    label: str = Option("label", description="the key or column of the class; an empty one in training is unlabelled")
    least_count: int = Option(2, ge=1, description="times that a word stands in training at least; others are the unknown word")
    characters: int = Option(
        0,
        ge=0,
        le=64,
        description="first characters of each word that are tokens beside it, which tell unknown words apart; 0: none",
    )
    lowercase: bool = Option(True, description="whether upper case is read as lower case")
    longest: int = Option(256, ge=1, description="most words of a text; a punctuation mark is a word")
    longer: Literal["refuse", "truncate"] = Option("refuse", description="what to do with a text of more words")
    validation_share: float = Option(
        0.1, gt=0.0, lt=0.5, description="share of the texts, of each class, without a split of its own"
    )
    test_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the texts, of each class, if the split is not stored")

    @model_validator(mode="after")
    def _are_two_columns(self) -> Config:
        if self.text == self.label:
            raise ValueError(f"'text' and 'label' are both '{self.text}': the text would be its own class. Name two columns.")
        return self


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The texts of a file: the words and the label of each ("" without one), and how many were cut to the longest length."""

    path: Path
    words: list[list[str]]
    labels: list[str]
    num_cut: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """The words of the training texts and of a split's texts, the classes of the latter, and sentences on both.

    `cut` has a note on the number of texts that were cut.
    """

    training: list[list[str]]
    words: list[list[str]]
    labels: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]
    cut: list[str]


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: ragged `tokens`, indices in the training vocabulary, and the target `class`.

    Vocabulary and classes are those of training. Raises `InputError` for all wrong lines, or all wrong files, at once.
    """
    return _read(config, seed, split, None)


def read_as(config: Config, seed: int, split: SplitName, inputs: Sequence[InputSpec]) -> Examples:
    """Return one split with the vocabulary of a network; words that it lacks are the unknown word."""
    return _read(config, seed, split, vocabulary_as(inputs))


def _read(config: Config, seed: int, split: SplitName, own_vocabulary: Vocabulary | None) -> Examples:
    root = existing(config.path)
    in_folders = has_class_folders(root) and not split_files(root, (*JSON_LINES, *TABLES))
    found = (_from_folders if in_folders else _from_files)(root, config, seed, split)
    vocabulary = own_vocabulary or vocabulary_of(found.training, config)
    lengths = [len(one) for one in found.words]
    count = f"{split}: {len(lengths):,} texts of {min(lengths)} to {max(lengths)} words"
    more = vocabulary.note(found.words, split)
    return Examples(
        inputs={"tokens": Field(values=vocabulary.indices(found.words), kind="tokens", names=vocabulary.names)},
        targets={"class": Field(values=torch.from_numpy(found.labels), kind="class", names=found.names)},
        notes=(*found.notes, count, more, *found.cut),
    )


def _from_folders(root: Path, config: Config, seed: int, split: SplitName) -> Split:
    """Return a split of texts in folders of classes."""
    found, training, words = read_texts(
        str(root), seed, split, config.validation_share, config.test_share, partial(_words, config=config)
    )
    num_cut = sum(len(one) > config.longest for one in words)
    cut = [f"cut to {config.longest} words: {num_cut:,} texts of {split}"] if num_cut else []
    training, words = ([one[: config.longest] for one in part] for part in (training, words))
    notes = (*left_out(found), *found.notes)
    return Split(
        training=training, words=words, labels=found.labels.astype(np.int64), names=found.names, notes=notes, cut=cut
    )  # fmt: skip


def _from_files(root: Path, config: Config, seed: int, split: SplitName) -> Split:
    """Return a split of texts in JSON lines or tables."""
    parts = _parts(root)
    wanted: list[SplitName] = ["train", *([split] if split in parts and split != "train" else [])]
    others = [partial(_texts, path, config) for name, path in parts.items() if name not in wanted]
    training, *own = read_all([partial(_texts, parts[name], config) for name in wanted], others)
    names = _class_names(training)
    labels = _labels(training, names, is_training=True)
    shares = (None if "validation" in parts else config.validation_share, None if "test" in parts else config.test_share)
    drawn = draw(labels, seed, *shares, str(training.path))
    if own:
        words, chosen = own[0].words, _labels(own[0], names, is_training=False)
        check_rows(chosen, split, str(own[0].path))
    else:
        rows = getattr(drawn, split)
        words, chosen = [training.words[row] for row in rows.tolist()], labels[rows]
    cut = [f"cut to {config.longest} words: {one.num_cut:,} texts of {one.path}" for one in (training, *own) if one.num_cut]
    return Split(
        training=[training.words[row] for row in drawn.train.tolist()], words=words, labels=chosen, names=names,
        notes=notes_on_split(names, labels, drawn, *shares), cut=cut,
    )  # fmt: skip


def _parts(root: Path) -> dict[SplitName, Path]:
    """Return the file of each split; a single file is the training file, from which the other splits are drawn."""
    if root.is_file():
        return {"train": root}
    parts = split_files(root, (*JSON_LINES, *TABLES))
    if not parts:
        raise InputError(
            f"{root}: has no training file and no folders of classes. Put train.jsonl or train.csv into it, or a folder a "
            "class with a file .txt a text, or give the path of a file."
        )
    return parts


def _texts(path: Path, config: Config) -> Texts:
    """Return the texts of a file. Raises `InputError` for all wrong lines."""
    pairs = list(_from_json(path, config) if path.suffix.lower() in JSON_LINES else _from_table(path, config))
    if not pairs:
        raise InputError(f"{path}: has no texts.")
    found = [_checked(pair, number, path, config) for number, pair in enumerate(pairs, start=1)]
    if wrong := [one for one in found if isinstance(one, InputError)]:
        raise all_in_one(wrong, len(found), "texts")
    right = [one for one in found if not isinstance(one, InputError)]
    words = [one for one, _ in right]
    return Texts(
        path=path, words=[one[: config.longest] for one in words], labels=[label for _, label in right],
        num_cut=sum(len(one) > config.longest for one in words),
    )  # fmt: skip


def _from_json(path: Path, config: Config) -> Iterator[tuple[Any, Any] | InputError]:
    """Yield the text and the label of every line, or what is wrong with it."""
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            yield InputError(f"{path}, line {number}: is empty. Remove it.")
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield InputError(f"{path}, line {number}: is not JSON ({error}). Each line is an object with a text and a label.")
            continue
        if not isinstance(document, dict):
            yield InputError(f"{path}, line {number}: is not an object such as {{'{config.text}': …, '{config.label}': …}}.")
            continue
        absent = [name for name in (config.text, config.label) if name not in document]
        if absent:
            hint = nearest(absent[0], list(document))
            keys = ", ".join(f"'{one}'" for one in list(document)[:10]) or "none"
            yield InputError(
                f"{path}, line {number}: has no '{absent[0]}'; its keys are {keys}.{hint} Set the options 'text' and "
                "'label' to them."
            )
            continue
        yield document[config.text], document[config.label]


def _from_table(path: Path, config: Config) -> Iterator[tuple[Any, Any] | InputError]:
    """Yield the text and the label of every row."""
    cells = tables.read(path, tables.FormatConfig(missing=())).cells  # None and NA may be a class, and null a text
    for name in (config.text, config.label):
        if name not in cells.columns:
            hint = nearest(name, [str(one) for one in cells.columns])
            hint += (
                " It seems to hold JSON lines: name it .jsonl." if str(next(iter(cells.columns), "")).startswith("{") else ""
            )
            raise InputError(f"{path}: has no column '{name}'.{hint} Set the options 'text' and 'label' to its columns.")
    found = cells[[config.text, config.label]]
    if pd.api.types.is_float_dtype(found[config.label]) and found[config.label].isna().any():
        found = found.convert_dtypes()  # whole numbers, which became floats because some are missing
    yield from found.astype(object).where(found.notna(), None).itertuples(index=False, name=None)


def _checked(
    pair: tuple[Any, Any] | InputError, number: int, path: Path, config: Config
) -> tuple[list[str], str] | InputError:  # fmt: skip
    """Return the words and the label of a text, or what is wrong with it."""
    if isinstance(pair, InputError):
        return pair
    text, label = pair
    where = f"{path}, {_unit(path)} {number}"
    if not isinstance(text, str):
        return InputError(f"{where}: '{config.text}' is {text!r}, no text.")
    if label is not None and (not isinstance(label, str | int) or isinstance(label, bool)):
        return InputError(f"{where}: '{config.label}' is {label!r}, no class. A class is a word or a whole number.")
    if halves := [name for name, value in ((config.text, text), (config.label, str(label))) if not is_text(value)]:
        return InputError(f"{where}: '{halves[0]}' has half of a surrogate pair, which is no character. Remove it.")
    return attempt(lambda: (_words(text, where, config), "" if label is None else str(label).strip()))


def _words(text: str, where: str, config: Config) -> list[str]:
    """Return the words of a text. Raises `InputError` for a text without words, and for one that is too long."""
    words = words_in(text.lower() if config.lowercase else text)
    if not words:
        raise InputError(f"{where}: has no words. Remove it.")
    if len(words) > config.longest and config.longer == "refuse":
        raise InputError(
            f"{where}: has {len(words)} words; the option 'longest' is {config.longest}. Raise it, or set 'longer: truncate'."
        )
    return words


def _unit(path: Path) -> str:
    return "line" if path.suffix.lower() in JSON_LINES else "row"


def _class_names(training: Texts) -> tuple[str, ...]:
    names = tuple(sorted({label for label in training.labels if label}))
    if not names:
        raise no_labels(str(training.path), "Give some texts a label.")
    check_classes(names, str(training.path))
    return names


def _labels(texts: Texts, names: tuple[str, ...], *, is_training: bool) -> np.ndarray:
    """Return the class index of every text, int64, `UNKNOWN` for an unlabelled one in training."""
    index = {name: number for number, name in enumerate(names)}
    known = {**index, "": UNKNOWN} if is_training else index
    wrong = [
        InputError(
            f"{texts.path}, {_unit(texts.path)} {number}: the label '{label}' is not in training."
            f"{nearest(label, names) if label else ' Only training texts may be without a label.'}"
        )
        for number, label in enumerate(texts.labels, start=1)
        if label not in known
    ]
    if wrong:
        raise all_in_one(wrong, len(texts.labels), "texts")
    return np.array([known[label] for label in texts.labels], dtype=np.int64)
