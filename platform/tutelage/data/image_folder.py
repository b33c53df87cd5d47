"""Photographs in one folder a class, decoded once into a memory-mapped cache; train, val and test folders are optional.

Images in a folder `unlabelled`, next to the folders of the training classes, are unlabelled training examples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tutelage.data import Examples, SplitName
from tutelage.data._broken import all_in_one, attempt, errors_in, of_cache
from tutelage.data._class_folders import find
from tutelage.data._decode import decoded
from tutelage.data._image_files import ENDINGS, images_in, left_out
from tutelage.data._splitting import examples_of, statistics
from tutelage.errors import InputError
from tutelage.files import expanded, write_json
from tutelage.plugins import PluginConfig
from tutelage.storage import StorageFailed, open_storage

SPACE: dict[str, dict[str, object]] = {}
_BATCH = 1024  # images submitted to the threads at a time
_PIXELS, _ABOUT = "images.npy", "about.json"


class Config(PluginConfig):
    """The path of the images and their size: the shorter side is scaled to `side_px`, and the centre square is cropped."""

    path: str = Field(description="the folder with one folder a class, or with folders train, val and test of such folders")
    side_px: int = Field(64, ge=4, le=1024, description="height and width of an image as it is stored, pixels")
    not_rgb: Literal["refuse", "convert"] = Field("refuse", description="what to do with a grey, palette or CMYK image")
    animated: Literal["refuse", "first"] = Field(
        "refuse", description="what to do with an image of several frames or pages; first: take the first"
    )
    background: Literal["white", "black"] = Field("white", description="what transparent images are put on")
    cache: str = Field("~/.cache/tutelage/images", description="the folder of decoded images, on each machine")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the images, of each class, without a val folder")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the images, of each class, without a test folder")


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs uint8 `[n, 3, side_px, side_px]`, memory-mapped, classes `[n]`.

    The classes are the folders of the training folder, or of the val folder if the training folder has only `unlabelled`.
    """
    found = find(config.path, seed, split, config.validation_share, config.test_share, _images_of)
    _, mean, std = _decoded(found.training, found.root, config)
    images, _, _ = _decoded(found.chosen, found.root, config)
    return examples_of(images, found.labels, found.names, mean, std, (*left_out(found.root, found.roots), *found.notes))


def _images_of(folder: Path, is_training: bool) -> list[Path]:
    """Return the images of a class. Raises `InputError` for a training folder without images."""
    inside = images_in(folder)
    if is_training and not inside:
        raise InputError(f"{folder}: has no image ({', '.join(sorted(ENDINGS))}). Add images, or remove the folder.")
    return inside


def _decoded(files: Sequence[Path], root: Path, config: Config) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Return `files` as uint8 `[n, 3, side, side]` with each channel's mean and deviation, from the cache if it has them."""
    states = [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    parts = json.dumps([3, str(root), states, config.side_px, config.not_rgb, config.background, config.animated])
    entry = expanded(config.cache) / hashlib.sha256(parts.encode()).hexdigest()[:16]
    if not entry.is_dir():
        _decode(files, entry, root, config)
    return of_cache(entry, lambda: _cached(entry))


def _cached(entry: Path) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    # Copy-on-write: a tensor needs writable memory, and writes must not reach the file.
    return np.load(entry / _PIXELS, mmap_mode="c", allow_pickle=False), tuple(about["mean"]), tuple(about["std"])


def _decode(files: Sequence[Path], entry: Path, root: Path, config: Config) -> None:
    try:
        with open_storage(entry.parent).draft(entry.name) as draft:
            _decode_into(draft, files, root, config)
    except (OSError, StorageFailed) as error:
        raise InputError(f"{entry.parent}: the decoded images cannot be stored there ({error}). Change 'cache'.") from error


def _decode_into(draft: Path, files: Sequence[Path], root: Path, config: Config) -> None:
    shape = (len(files), 3, config.side_px, config.side_px)
    images = np.lib.format.open_memmap(draft / _PIXELS, mode="w+", dtype=np.uint8, shape=shape)
    wrong: list[InputError] = []
    for row, image in enumerate(_each(files, config)):
        if isinstance(image, InputError):
            wrong.append(image)
        else:
            images[row] = image
    if wrong:
        others = sorted(set(images_in(root)) - set(files))  # all broken images are named at once, whatever their split
        wrong += errors_in(_each(others, config))
        raise all_in_one(wrong, len(files) + len(others), "images")
    images.flush()
    mean, std = statistics(images, np.arange(len(files)))
    write_json(draft / _ABOUT, {"mean": mean, "std": std})


def _each(files: Sequence[Path], config: Config) -> Iterator[np.ndarray | InputError]:
    """Give for every file, in order, its image or the error that it raised."""
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(files), _BATCH):
            yield from threads.map(lambda path: attempt(lambda: _decoded_image(path, config)), files[start : start + _BATCH])


def _decoded_image(path: Path, config: Config) -> np.ndarray:
    return decoded(path, config.side_px, config.not_rgb, config.background, config.animated)
