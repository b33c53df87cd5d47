"""The characters of a text file in windows, each with the next character as its label.

The splits are parts of the text in this order: training, validation, test. The windows of a split follow each other, so that
each of its characters but the first is predicted exactly once. With `documents: lines` no window has characters of two lines;
then short lines may be packed into one row, in which a network must not read across lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field as Option

from tutelage.data import Examples, Field, Ragged, SplitName, offsets_of
from tutelage.data._documents import document_windows, packed_rows
from tutelage.errors import InputError
from tutelage.files import existing, read_text
from tutelage.plugins import PluginConfig
from tutelage.signature import InputSpec

SPACE: dict[str, dict[str, object]] = {}
LINE_END = "\n"
UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"
_SHOWN = 5


class Config(PluginConfig):
    """The path of the text, the length of windows, the splits, and what becomes of unknown characters."""

    path: str = Option(description="a text file in UTF-8, or a folder whose .txt files are read in the order of their names")
    length: int = Option(
        128, ge=1, le=65_536, description="characters of a window; a prediction sees those before it in its window"
    )
    stride: int | None = Option(
        None, ge=1, le=65_536, description="characters between the starts of two training windows; null: the length, no overlap"
    )
    documents: Literal["text", "lines"] = Option(
        "text", description="text: windows follow each other; lines: each line has windows of its own, which see no other line"
    )
    packed: bool = Option(
        False, description="with documents: lines, training rows of several short lines, at most length characters together"
    )
    validation_share: float = Option(0.05, gt=0.0, lt=0.5, description="share of the characters, those behind training")
    test_share: float = Option(0.05, gt=0.0, lt=0.5, description="share of the characters, the last ones")
    unknown: Literal["refuse", "count"] = Option(
        "refuse", description="characters that training lacks: an error, or one more class that counts as a wrong prediction"
    )


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text as code points `[n]`, and for messages the file and the first character of each of its files."""

    points: np.ndarray
    files: tuple[tuple[Path, int], ...]

    def place(self, position: int) -> str:
        """Return the file and the line of a character."""
        path, first = next((path, first) for path, first in reversed(self.files) if first <= position)
        return f"{path}, line {int((self.points[first:position] == ord(chr(10))).sum()) + 1}"


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: ragged `tokens`, indices in the characters of training, and the ragged target `token`, the next ones.

    The splits depend on positions alone, not on `seed`. Raises `InputError` for a text that is too short, and for characters
    that training lacks, unless they are counted.
    """
    return _read(config, split, None)


def read_as(config: Config, seed: int, split: SplitName, inputs: Sequence[InputSpec]) -> Examples:
    """Return one split with the characters of a network. Raises `InputError` for others, unless the network counts them."""
    names = inputs[0].names
    own = [name for name in names if name != UNKNOWN_CHARACTER]
    if not own or own != sorted(own) or any(len(name) != 1 for name in own):
        return read(config, seed, split)
    counts = {"unknown": "count" if UNKNOWN_CHARACTER in names else "refuse"}
    return _read(config.model_copy(update=counts), split, np.array([*map(ord, own)]))


def _read(config: Config, split: SplitName, own: np.ndarray | None) -> Examples:
    """Return one split; `own` are the known characters, sorted code points, by default those of training."""
    _check_documents(config)
    text = _read_text(config.path, has_lines=config.documents == "lines")
    parts = _parts(text, config)
    known = np.unique(text.points[slice(*parts["train"])]) if own is None else own
    if len(known) < 2:
        raise InputError(
            f"{config.path}: the training split has one character alone, {chr(int(known[0]))!r}, so there is nothing to "
            "predict. Give another text."
        )
    way_out = "training lacks: {}. Remove them, or set 'unknown: count', and each is a wrong prediction."
    if own is not None:
        way_out = "the network lacks: {}. Remove them."
    indices = _indices(text, parts[split], known, f"the {split} split has characters that {way_out}", config)
    names = (*([UNKNOWN_CHARACTER] if config.unknown == "count" else []), *map(chr, known.tolist()))
    if config.documents == "lines" and LINE_END not in names:
        raise InputError(f"{config.path}: 'documents: lines', and the training split has one line. Set 'documents: text'.")
    rows = _rows(indices, names, config, split)
    tokens, following = (_ragged(indices[shift:], rows) for shift in (0, 1))
    start = names.index(LINE_END) if config.packed else None
    return Examples(
        inputs={"tokens": Field(values=tokens, kind="tokens", names=names, document_start=start)},
        targets={"token": Field(values=following, kind="class", names=names)},
        notes=tuple(
            _notes(parts, len(known), "stand in training" if own is None else "the network has", split, rows, indices, config)
        ),
    )


def _check_documents(config: Config) -> None:
    """Raise `InputError` for options that exclude each other."""
    if config.packed and config.documents == "text":
        raise InputError(
            "data 'characters': 'packed: true' packs documents; the windows of one text are full. Set documents: lines."
        )
    if config.stride is not None and config.documents == "lines":
        raise InputError("data 'characters': 'stride' overlaps the windows of one text. Remove it, or set documents: text.")


def _read_text(given: str, *, has_lines: bool) -> Text:
    """Return the text of a file, or of all .txt files of a folder. If it `has_lines`, none has characters of two files."""
    root = existing(given)
    paths = sorted(root.glob("*.txt")) if root.is_dir() else [root]
    if not paths:
        raise InputError(f"{root}: has no .txt file.")
    texts = [_text_of(path) for path in paths]
    if has_lines:
        texts = [one if one[-1] == ord(LINE_END) else np.append(one, ord(LINE_END)) for one in texts[:-1]] + texts[-1:]
    starts = offsets_of(torch.tensor([len(one) for one in texts])).tolist()
    return Text(points=np.concatenate(texts), files=tuple(zip(paths, starts, strict=False)))


def _text_of(path: Path) -> np.ndarray:
    text = read_text(path)
    if not text:
        raise InputError(f"{path}: is empty.")
    if UNKNOWN_CHARACTER in text:
        line = text[: text.index(UNKNOWN_CHARACTER)].count("\n") + 1
        raise InputError(
            f"{path}, line {line}: has the character U+FFFD, which stands for what a decoder could not read. Decode the text "
            "again, or remove it."
        )
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)


def _parts(text: Text, config: Config) -> dict[SplitName, tuple[int, int]]:
    """Return the first position of each split, and the one behind its last."""
    total = len(text.points)
    test, validation = (round(share * total) for share in (config.test_share, config.validation_share))
    ends = (total - test - validation, total - test, total)
    parts: dict[SplitName, tuple[int, int]] = {"train": (0, ends[0]), "validation": ends[:2], "test": ends[1:]}
    for split, (first, end) in parts.items():
        if end - first < 2:
            raise InputError(
                f"{config.path}: {total:,} characters leave {end - first} for the {split} split, which needs two at least. "
                "Give a longer text."
            )
    return parts


def _indices(text: Text, part: tuple[int, int], known: np.ndarray, message: str, config: Config) -> np.ndarray:
    """Return the index of each character of a split; of unknown ones 0.

    Raises `InputError` for unknown ones unless they are counted, with the `message`, in which {} stands for them.
    """
    points = text.points[slice(*part)]
    places = np.searchsorted(known, points).clip(max=len(known) - 1)
    is_unknown = known[places] != points
    if not is_unknown.any() or config.unknown == "count":
        found: np.ndarray = np.where(is_unknown, 0, places + 1) if config.unknown == "count" else places
        return found
    counted = Counter(points[is_unknown].tolist())
    listed = ", ".join(f"{chr(point)!r} ({count:,})" for point, count in counted.most_common(_SHOWN))
    more = ", …" if len(counted) > _SHOWN else ""
    raise InputError(f"{text.place(part[0] + int(is_unknown.argmax()))}: {message.format(listed + more)}")


def _windows(total: int, config: Config, split: SplitName) -> np.ndarray:
    """Return the start and the length of each window `[n, 2]` over `total` characters, the last of which is only predicted."""
    step = min(config.stride or config.length, config.length) if split == "train" else config.length
    starts = np.arange(0, total - 1, step)
    if split == "train" and step < config.length:  # a window that another one contains has nothing of its own
        starts = starts[: 1 + max(0, -(-(total - 1 - config.length) // step))]
    return np.stack([starts, np.minimum(config.length, total - 1 - starts)], axis=1)


def _rows(indices: np.ndarray, names: tuple[str, ...], config: Config, split: SplitName) -> list[np.ndarray]:
    """Return the windows of each row, their starts and lengths `[n, 2]`; without packing a row is one window."""
    if config.documents == "text":
        windows = _windows(len(indices), config, split)
        return np.split(windows, range(1, len(windows)))
    ends = indices == names.index(LINE_END)
    windows = document_windows(ends, config.length)
    if not config.packed or split != "train":
        return np.split(windows, range(1, len(windows)))
    return [windows[row] for row in packed_rows(windows[:, 1], ~ends[windows[:, 0]], config.length)]


def _ragged(indices: np.ndarray, rows: list[np.ndarray]) -> Ragged:
    values = np.concatenate([indices[first : first + length] for row in rows for first, length in row.tolist()])
    return Ragged(torch.from_numpy(values), offsets_of(torch.tensor([int(row[:, 1].sum()) for row in rows])))


def _notes(
    parts: Mapping[SplitName, tuple[int, int]], num_known: int, which: str, split: SplitName, rows: list[np.ndarray],
    indices: np.ndarray, config: Config,
) -> Iterator[str]:  # fmt: skip
    """Give sentences on what was read."""
    sizes = ", ".join(f"{name} {end - first:,}" for name, (first, end) in parts.items())
    yield f"splits: characters in the order of the text: {sizes}"
    windows = sum(map(len, rows))
    yield (
        f"{split}: {windows:,} windows of at most {config.length} characters; a prediction sees those before it in its window "
        "alone"
    )
    if config.packed and split == "train":
        share = sum(int(row[:, 1].sum()) for row in rows) / (len(rows) * config.length)
        yield f"{split}: packed into {len(rows):,} rows of {config.length} characters, {share:.1%} of them filled"
    yield f"vocabulary: {num_known} characters that {which}"
    if config.unknown == "count" and split != "train":
        yield f"{split}: {int((indices == 0).sum()):,} of {len(indices):,} characters are unknown"
