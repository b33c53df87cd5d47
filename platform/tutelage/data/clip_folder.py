"""Clips in one folder a class, as video files or as folders of frames, decoded once into a memory-mapped cache.

Folders train, val and test are optional. Clips in a folder `unlabelled`, next to the folders of the training classes, are
unlabelled training examples. Video files need an extra: `pip install tutelage[video]`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field as Option

from tutelage.data import Examples, Field, Ragged, SplitName, offsets_of
from tutelage.data._broken import all_in_one, attempt, errors_in, of_cache
from tutelage.data._class_folders import Found, every, find
from tutelage.data._clip_files import Clip, beside_splits, clips_in, left_out
from tutelage.data._splitting import statistics
from tutelage.data._video_files import Source, Wanted, frames_of
from tutelage.errors import InputError
from tutelage.files import expanded, write_json
from tutelage.plugins import PluginConfig
from tutelage.storage import StorageFailed, open_storage

SPACE: dict[str, dict[str, object]] = {}
_BATCH = 64  # clips submitted to the threads at a time
_PIXELS, _ABOUT = "frames.bin", "about.json"


class Config(PluginConfig):
    """The path of the clips, and how they are stored: the shorter side is scaled to `side_px`, the centre square cropped."""

    path: str = Option(description="the folder with one folder a class, or with folders train, val and test of such folders")
    side_px: int = Option(64, ge=4, le=1024, description="height and width of a frame as it is stored, pixels")
    colours: Literal["rgb", "grey"] = Option("rgb", description="three channels a frame, or one")
    frames_per_second: float | None = Option(
        None,
        gt=0,
        le=1000,
        description="frames that are kept of a second of a video file; None, and in folders of frames: all",
    )
    longest: int = Option(64, ge=1, le=10_000, description="most frames of a clip")
    longer: Literal["refuse", "truncate", "spread"] = Option(
        "refuse", description="what to do with more frames; truncate: keep the first; spread: keep some at equal distances"
    )
    background: Literal["white", "black"] = Option("white", description="what transparent frames of folders are put on")
    cache: str = Option("~/.cache/tutelage/clips", description="the folder of decoded clips, on each machine")
    validation_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the clips, of each class, without a val folder")
    test_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the clips, of each class, without a test folder")


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: ragged `frames` `[frames, channels, side_px, side_px]` of each clip, memory-mapped, and its class.

    The classes are the folders of the training folder, or of the val folder if the training folder has only `unlabelled`.
    Raises `InputError` for all clips at once that are empty, too long, or cannot be decoded.
    """
    found = find(config.path, seed, split, config.validation_share, config.test_share, clips_in)
    about, _ = _decoded(found.training, found, config)
    own, values = _decoded(found.chosen, found, config)
    offsets = offsets_of(torch.tensor(own["lengths"], dtype=torch.int64))
    frames = Ragged(torch.from_numpy(values), offsets)
    return Examples(
        inputs={"frames": Field(values=frames, kind="frames", mean=tuple(about["mean"]), std=tuple(about["std"]))},
        targets={"class": Field(values=torch.from_numpy(found.labels.astype(np.int64)), kind="class", names=found.names)},
        notes=(*_notes(found, config), note_on_clips(split, own, config), *found.notes),
    )


def _decoded(clips: Sequence[Clip], found: Found[Clip], config: Config) -> tuple[dict[str, Any], np.ndarray]:
    """Return what is known of decoded clips, and their frames uint8 `[total, channels, side, side]`, from the cache."""
    states = [(str(file.relative_to(found.root)), *_state(file)) for clip in clips for file in clip.files]
    options = config.model_dump(exclude={"path", "cache", "validation_share", "test_share"})
    key = hashlib.sha256(json.dumps([1, str(found.root), states, options]).encode()).hexdigest()[:16]
    entry = expanded(config.cache) / key
    if not entry.is_dir():
        _decode(clips, entry, found, config)
    return of_cache(entry, lambda: _cached(entry, config))


def _cached(entry: Path, config: Config) -> tuple[dict[str, Any], np.ndarray]:
    about: dict[str, Any] = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    # Copy-on-write: a tensor needs writable memory, and writes must not reach the file.
    return about, np.memmap(entry / _PIXELS, dtype=np.uint8, mode="c", shape=_shape(sum(about["lengths"]), config))


def _state(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_size, about.st_mtime_ns


def _shape(frames: int, config: Config) -> tuple[int, int, int, int]:
    return frames, 3 if config.colours == "rgb" else 1, config.side_px, config.side_px


def _decode(clips: Sequence[Clip], entry: Path, found: Found[Clip], config: Config) -> None:
    try:
        with open_storage(entry.parent).draft(entry.name) as draft:
            _decode_into(draft, clips, found, config)
    except (OSError, StorageFailed) as error:
        raise InputError(f"{entry.parent}: the decoded clips cannot be stored there ({error}). Change 'cache'.") from error


def _decode_into(draft: Path, clips: Sequence[Clip], found: Found[Clip], config: Config) -> None:
    lengths: list[int] = []
    sources: list[Source] = []
    wrong: list[InputError] = []
    with (draft / _PIXELS).open("wb") as file:
        for decoded in _each(clips, config):
            if isinstance(decoded, InputError):
                wrong.append(decoded)
            else:
                file.write(decoded[0].data)
                lengths.append(len(decoded[0]))
                sources.append(decoded[1])
    if wrong:
        others = [clip for clip in every(found, clips_in) if clip not in set(clips)]  # named at once, whatever their split
        wrong += errors_in(_each(others, config))
        raise all_in_one(wrong, len(clips) + len(others), "clips")
    frames = np.memmap(draft / _PIXELS, dtype=np.uint8, mode="r", shape=_shape(sum(lengths), config))
    mean, std = statistics(frames, np.arange(len(frames)))
    write_json(draft / _ABOUT, {"lengths": lengths, "sources": sources, "mean": mean, "std": std})


def _each(clips: Sequence[Clip], config: Config) -> Iterator[tuple[np.ndarray, Source] | InputError]:
    """Give for every clip, in order, its frames and how it is stored, or the error that it raised."""
    wanted = Wanted(
        side_px=config.side_px, colours=config.colours, per_second=config.frames_per_second, longest=config.longest,
        longer=config.longer, background=config.background,
    )  # fmt: skip
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(clips), _BATCH):
            yield from threads.map(lambda clip: attempt(lambda: frames_of(clip, wanted)), clips[start : start + _BATCH])


def _notes(found: Found[Clip], config: Config) -> Iterator[str]:
    """Give sentences on what was left out, and on clips whose frames have no rate."""
    yield from left_out(found.root, every(found, clips_in), beside_splits(found.root, found.roots.values()))
    if config.frames_per_second is not None and any(clip.frames for clip in found.chosen):
        yield "folders of frames have no rate: all of their frames are kept, whatever 'frames_per_second' is"


def note_on_clips(split: str, about: dict[str, Any], config: Config) -> str:
    """Return a sentence on the clips of a split: how many, of which length, and how they are stored in files."""
    sources = Counter(tuple(one) for one in about["sources"])
    listed = [
        f"{count:,} of {width}×{height} px" + (f" at {rate:.4g} frames a second" if rate else " without a rate")
        for (width, height, rate), count in sources.most_common(5)
    ]
    more = f" and {len(sources) - 5:,} other kinds" if len(sources) > 5 else ""
    wanted = config.frames_per_second
    kept = f"{wanted:g} frames a second" if wanted else "all frames"
    if wanted and (slow := sum(0 < rate < wanted for _, _, rate in about["sources"])):
        kept += f", and all of the {slow:,} clips with fewer"
    return (
        f"{split}: {len(about['lengths']):,} clips of {min(about['lengths'])} to {max(about['lengths'])} frames of "
        f"{config.side_px}×{config.side_px} px in {config.colours} ({kept}); stored as {', '.join(listed)}{more}"
    )
