"""Sentences with a slot label a word and an intent each, in the files `seq.in`, `seq.out` and `label` of a folder a split.

Line n of the three files is one sentence: its words, their slot labels (IOB), and its intent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field as Option

from tutelage.data import UNKNOWN, Examples, Field, Ragged, SplitName
from tutelage.data._broken import all_in_one, read_all
from tutelage.data._folders import split_folders, splits_within
from tutelage.data._labels import check_classes
from tutelage.data._splitting import LabelledPerClass, draw, how_split, notes_on_alike, training_labels
from tutelage.data._words import Vocabulary, indices_of, vocabulary_as, vocabulary_of
from tutelage.errors import InputError, nearest
from tutelage.files import existing_folder, read_lines
from tutelage.plugins import PluginConfig
from tutelage.signature import InputSpec

SPACE: dict[str, dict[str, object]] = {}
_WORDS, _SLOTS, _INTENTS = "seq.in", "seq.out", "label"


class Config(PluginConfig):
    """The path of the sentences, which words are known, and what becomes of long sentences."""

    path: str = Option(description="the folder with the folders train, and optionally valid and test, of the three files")
    least_count: int = Option(2, ge=1, description="times that a word stands in training at least; others are the unknown word")
    characters: int = Option(
        0,
        ge=0,
        le=64,
        description="first characters of each word that are tokens beside it, which tell unknown words apart; 0: none",
    )
    lowercase: bool = Option(False, description="whether upper case is read as lower case")
    longest: int = Option(128, ge=1, description="most words of a sentence")
    longer: Literal["refuse", "truncate"] = Option("refuse", description="what to do with a sentence of more words")
    validation_share: float = Option(
        0.1, gt=0.0, lt=0.5, description="share of the sentences, of each intent, without a valid folder"
    )
    test_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the sentences, of each intent, without a test folder")
    labelled_per_class: LabelledPerClass = None


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """The sentences of a folder: words, slot labels and intent of each, and how many were cut to the longest length."""

    folder: Path
    words: list[list[str]]
    slots: list[list[str]]
    intents: list[str]
    num_cut: int = 0

    def take(self, rows: Sequence[int]) -> Sentences:
        """Return the sentences `rows`."""
        words, slots = ([part[row] for row in rows] for part in (self.words, self.slots))
        return replace(self, words=words, slots=slots, intents=[self.intents[row] for row in rows])


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: ragged `tokens`, indices in the training vocabulary, and the targets ragged `slots` and `intent`.

    The vocabulary, slot labels and intents are those of training. With `labelled_per_class`, the other training sentences have
    neither slot labels nor an intent, and their words are known. Raises `InputError` for all wrong lines at once.
    """
    return _read(config, seed, split, None)


def read_as(config: Config, seed: int, split: SplitName, inputs: Sequence[InputSpec]) -> Examples:
    """Return one split with the vocabulary of a network; words that it lacks are the unknown word."""
    return _read(config, seed, split, vocabulary_as(inputs))


def _read(config: Config, seed: int, split: SplitName, own_vocabulary: Vocabulary | None) -> Examples:
    root = existing_folder(config.path)
    folders = split_folders(root)
    if not folders:
        within = next((one.parent for one in splits_within(root)), None)
        is_split = (root / _WORDS).is_file()
        hint = f"{within} has one: is this the path?" if within else f"Put {_WORDS}, {_SLOTS} and {_INTENTS} into it."
        hint = f"It has {_WORDS} itself: give the folder above, or move its files into a folder train." if is_split else hint
        raise InputError(f"{root}: has no folder train. {hint}")
    wanted = ["train", *([split] if split in folders and split != "train" else [])]
    others = [partial(_sentences, folders[name], config) for name in folders if name not in wanted]
    reads = [partial(_sentences, folders[name], config) for name in wanted]  # type: ignore[index]
    training, *own = read_all(reads, others, what="folders")
    intents = tuple(sorted(set(training.intents)))
    check_classes(intents, str(training.folder / _INTENTS))
    shares = (
        None if "validation" in folders else config.validation_share, None if "test" in folders else config.test_share,
    )  # fmt: skip
    classes = np.array([intents.index(one) for one in training.intents])
    drawn = draw(classes, seed, *shares, str(training.folder))
    kept = training.take(drawn.train.tolist())
    is_labelled = training_labels(classes, drawn.train, seed, config.labelled_per_class) != UNKNOWN
    chosen = own[0] if own else training.take(getattr(drawn, split).tolist())
    names = {_SLOTS: _slot_names(training), _INTENTS: intents}
    _check_known(chosen, names)
    vocabulary = own_vocabulary or vocabulary_of(kept.words, config)
    notes = (*how_split(*shares), *_notes(chosen, split, vocabulary.note(chosen.words, split), names, config))
    examples = _examples(chosen, vocabulary, names, _seen_with(kept.take(is_labelled.nonzero()[0].tolist()), names), notes)
    return _without_labels(examples, torch.from_numpy(~is_labelled)) if split == "train" else examples


def _sentences(folder: Path, config: Config) -> Sentences:
    """Return the sentences in a folder. Raises `InputError` for all missing files, or for all wrong lines."""
    texts = read_all([partial(_lines, folder / name) for name in (_WORDS, _SLOTS, _INTENTS)])
    if len({len(lines) for lines in texts}) > 1:
        counts = ", ".join(f"{len(lines):,} in {name}" for name, lines in zip((_WORDS, _SLOTS, _INTENTS), texts, strict=True))
        raise InputError(f"{folder}: the files have different numbers of lines: {counts}. Line n of each is one sentence.")
    words, slots, intents = ([line.split() for line in lines] for lines in texts)
    wrong = [error for number in range(len(words)) for error in _wrong(folder, number, words, slots, intents, config)]
    if wrong:
        raise all_in_one(wrong, len(words), "lines")
    num_cut = sum(len(one) > config.longest for one in words)
    words, slots = ([one[: config.longest] for one in part] for part in (words, slots))
    if config.lowercase:
        words = [[word.lower() for word in one] for one in words]
    return Sentences(folder=folder, words=words, slots=slots, intents=[one[0] for one in intents], num_cut=num_cut)


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file."""
    if not path.is_file():
        hint = nearest(path.name, [one.name for one in path.parent.iterdir()])
        what = "is not there" if not path.exists() else "is a folder" if path.is_dir() else "is no plain file"
        raise InputError(f"{path}: {what}.{hint} A folder of sentences has the files {_WORDS}, {_SLOTS} and {_INTENTS}.")
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise InputError(f"{path}: is empty.")
    return lines


def _wrong(
    folder: Path, number: int, words: list[list[str]], slots: list[list[str]], intents: list[list[str]], config: Config
) -> Iterator[InputError]:
    """Give an error for everything that is wrong in one line."""
    line = number + 1
    of_line = {_WORDS: words[number], _SLOTS: slots[number], _INTENTS: intents[number]}
    if empty := [name for name, found in of_line.items() if not found]:
        yield InputError(
            f"{folder / empty[0]}, line {line}: is empty{' too' if len(empty) > 1 else ''}. Remove it from all files."
        )
        return
    if len(words[number]) != len(slots[number]):
        yield InputError(
            f"{folder / _SLOTS}, line {line}: has {len(slots[number])} slot labels for {len(words[number])} words in {_WORDS}."
        )
    if len(intents[number]) > 1:
        yield InputError(f"{folder / _INTENTS}, line {line}: has {len(intents[number])} intents. Join the words of one by '_'.")
    if len(words[number]) > config.longest and config.longer == "refuse":
        yield InputError(
            f"{folder / _WORDS}, line {line}: has {len(words[number])} words; the option 'longest' is {config.longest}. Raise "
            "it, or set 'longer: truncate'."
        )


def _slot_names(training: Sentences) -> tuple[str, ...]:
    """Return the slot labels of training, sorted, with `O` first."""
    found = {label for one in training.slots for label in one}
    return tuple(sorted(found, key=lambda label: (label != "O", label)))


def _check_known(chosen: Sentences, names: Mapping[str, tuple[str, ...]]) -> None:
    """Raise one `InputError` for all lines with a slot label or an intent that training does not have."""
    wrong = []
    for number, (slots, intent) in enumerate(zip(chosen.slots, chosen.intents, strict=True), start=1):
        for name, labels in ((_SLOTS, slots), (_INTENTS, [intent])):
            wrong += [
                InputError(f"{chosen.folder / name}, line {number}: '{label}' is not in training.{nearest(label, names[name])} "
                           "Correct it, or add sentences with it to training.")
                for label in sorted(set(labels) - set(names[name]))
            ]  # fmt: skip
    if wrong:
        raise all_in_one(wrong, len(chosen.words), "lines")


def _seen_with(kept: Sentences, names: Mapping[str, tuple[str, ...]]) -> torch.Tensor:
    """Return booleans `[intents, slot labels]`: whether a training sentence of an intent has a label."""
    found = torch.zeros(len(names[_INTENTS]), len(names[_SLOTS]), dtype=torch.bool)
    for labels, intent in zip(kept.slots, kept.intents, strict=True):
        found[names[_INTENTS].index(intent), [names[_SLOTS].index(label) for label in labels]] = True
    return found


def _examples(
    chosen: Sentences, vocabulary: Vocabulary, names: Mapping[str, tuple[str, ...]], seen_with: torch.Tensor,
    notes: tuple[str, ...],
) -> Examples:  # fmt: skip
    labels = indices_of(chosen.slots, {label: number for number, label in enumerate(names[_SLOTS])})
    intents = torch.tensor([names[_INTENTS].index(one) for one in chosen.intents])
    return Examples(
        inputs={"tokens": Field(values=vocabulary.indices(chosen.words), kind="tokens", names=vocabulary.names)},
        targets={
            "slots": Field(values=labels, kind="class", names=names[_SLOTS], seen_with={"intent": seen_with}),
            "intent": Field(values=intents, kind="class", names=names[_INTENTS]),
        },
        notes=notes,
    )


def _begins_inside(labels: Sequence[str]) -> Iterator[bool]:
    """Give for each label of a sentence whether it is inside of a slot (I-) and the one before it is not of that slot."""
    for before, label in pairwise(["O", *labels]):
        yield label[:2] == "I-" and before not in (f"B-{label[2:]}", label)


def _without_labels(examples: Examples, rows: torch.Tensor) -> Examples:
    """Return the examples with no slot labels and no intent for the sentences where the booleans `rows` are True."""

    def hidden(values: torch.Tensor | Ragged) -> torch.Tensor | Ragged:
        if isinstance(values, Ragged):
            steps = rows.repeat_interleave(values.lengths)
            return Ragged(values.values.masked_fill(steps, UNKNOWN), values.offsets)
        return values.masked_fill(rows, UNKNOWN)

    return replace(examples, targets={name: one.mapped(hidden) for name, one in examples.targets.items()})


def _notes(
    chosen: Sentences, split: SplitName, vocabulary_note: str, names: Mapping[str, tuple[str, ...]], config: Config
) -> Iterator[str]:
    """Give sentences on what was read."""
    lengths = [len(one) for one in chosen.words]
    yield (
        f"{split}: {len(lengths):,} sentences of {min(lengths)} to {max(lengths)} words, {len(names[_INTENTS])} intents, "
        f"{len(names[_SLOTS])} slot labels"
    )
    yield vocabulary_note
    yield from notes_on_alike(names[_INTENTS], "intents")
    yield from notes_on_alike(names[_SLOTS], "slot labels")
    if broken := sum(any(_begins_inside(labels)) for labels in chosen.slots):
        yield (
            f"{split}: {broken:,} sentences have a label I- behind neither B- nor I- of its type; it begins a slot, as "
            "CoNLL-2000 defines it, and decode: valid never gives it"
        )
    if chosen.num_cut:
        yield f"cut to {config.longest} words: {chosen.num_cut:,} sentences of {chosen.folder}"
