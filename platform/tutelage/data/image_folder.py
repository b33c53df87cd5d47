"""Photographs in one folder a class, decoded once into a memory-mapped cache; train, val and test folders are optional.

Images in a folder `unlabelled`, next to the folders of the training classes, are unlabelled training examples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from tutelage.data import UNKNOWN, Examples, SplitName
from tutelage.data._splitting import check_classes, check_rows, draw, examples_of, first_names, no_labels, statistics
from tutelage.errors import InputError
from tutelage.files import existing, write_json
from tutelage.plugins import PluginConfig
from tutelage.storage import StorageFailed, open_storage

SPACE: dict[str, dict[str, object]] = {}
_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_FOLDERS: dict[str, SplitName] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_UNLABELLED = ("unlabelled", "unlabeled")
_BATCH = 1024  # images submitted to the threads at a time
_PIXELS, _ABOUT = "images.npy", "about.json"


class Config(PluginConfig):
    """The path of the images and their size: the shorter side is scaled to `side_px`, and the centre square is cropped."""

    path: str = Field(description="the folder with one folder a class, or with folders train, val and test of such folders")
    side_px: int = Field(64, ge=4, le=1024, description="height and width of an image as it is stored, pixels")
    not_rgb: Literal["refuse", "convert"] = Field("refuse", description="what to do with a grey, palette or CMYK image")
    cache: str = Field("~/.cache/tutelage/images", description="the folder of decoded images, on each machine")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the images, of each class, without a val folder")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the images, of each class, without a test folder")


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: inputs uint8 `[n, 3, side_px, side_px]`, memory-mapped, classes `[n]`.

    The classes are the folders of the training folder, or of the val folder if the training folder has only `unlabelled`.
    """
    root = existing(config.path)
    roots = _roots(root)
    train_root = roots.get("train", root)
    class_names = _class_names(train_root, roots)
    files, labels = _training_files(train_root, class_names)
    drawn = draw(
        labels,
        seed,
        None if "validation" in roots else config.validation_share,
        None if "test" in roots else config.test_share,
        str(train_root),
    )
    train = [files[row] for row in drawn.train]
    if split != "train" and split in roots:
        chosen, chosen_labels = _files(roots[split], class_names, filled=False)
        check_rows(chosen_labels, split, str(roots[split]))
    else:
        rows = getattr(drawn, split)
        chosen, chosen_labels = [files[row] for row in rows], labels[rows]
    _, mean, std = _decoded(train, root, config)
    images, _, _ = _decoded(chosen, root, config)
    return examples_of(images, chosen_labels, class_names, mean, std)


def _roots(root: Path) -> dict[SplitName, Path]:
    """Return the folders of the splits; none if the classes stand in `root` itself."""
    found = {split: root / name for name, split in _FOLDERS.items() if (root / name).is_dir()}
    if "train" in found and (aside := [name for name in _UNLABELLED if (root / name).is_dir()]):
        raise InputError(f"{root / aside[0]}: is outside the training folder. Move it into {found['train']}.")
    return found if "train" in found else {}


def _folders(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _class_names(train_root: Path, roots: Mapping[SplitName, Path]) -> tuple[str, ...]:
    folders, root = _folders(train_root), train_root
    if folders and not set(folders) - set(_UNLABELLED):
        if "validation" not in roots:
            raise no_labels(str(train_root), "Give train, val and test folders; val and test need one folder a class.")
        root = roots["validation"]
    names = tuple(name for name in _folders(root) if name not in _UNLABELLED)
    check_classes(names, str(root))
    return names


def _training_files(root: Path, class_names: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """Return the training images, the unlabelled ones last. Raises `InputError` for a folder without images."""
    files, labels = _files(root, (*class_names, *_UNLABELLED), filled=True)
    return files, np.where(labels < len(class_names), labels, UNKNOWN)


def _files(root: Path, names: Sequence[str], filled: bool) -> tuple[list[Path], np.ndarray]:
    """Return the images in the folders `names` of `root`, in order, and the index in `names` of each image's folder.

    Raises `InputError` for a folder with another name and, if `filled`, for a folder without images.
    """
    if strange := sorted(set(_folders(root)) - set(names)):
        remedy = "Move it into the training folder." if strange[0] in _UNLABELLED else "Rename it."
        raise InputError(f"{root / strange[0]}: is not a class of the training folder ({first_names(names)}). {remedy}")
    files, labels = [], []
    for number, folder in enumerate(root / name for name in names):
        inside = _images_in(folder)
        files += inside
        labels += [number] * len(inside)
        if filled and folder.is_dir() and not inside:
            raise InputError(f"{folder}: has no image ({', '.join(sorted(_ENDINGS))}). Add images, or remove the folder.")
    return files, np.array(labels, dtype=np.int64)


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS) if folder.is_dir() else []


def _decoded(files: Sequence[Path], root: Path, config: Config) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Return `files` as uint8 `[n, 3, side, side]` with each channel's mean and deviation, from the cache if it has them."""
    states = [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    parts = json.dumps([1, str(root), states, config.side_px, config.not_rgb])
    entry = Path(config.cache).expanduser() / hashlib.sha256(parts.encode()).hexdigest()[:16]
    if not entry.is_dir():
        _decode(files, entry, config)
    about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    # Copy-on-write: a tensor needs writable memory, and writes must not reach the file.
    return np.load(entry / _PIXELS, mmap_mode="c", allow_pickle=False), tuple(about["mean"]), tuple(about["std"])


def _decode(files: Sequence[Path], entry: Path, config: Config) -> None:
    try:
        with open_storage(entry.parent).draft(entry.name) as draft:
            _decode_into(draft, files, config)
    except (OSError, StorageFailed) as error:
        raise InputError(f"{entry.parent}: the decoded images cannot be stored there ({error}). Change 'cache'.") from error


def _decode_into(draft: Path, files: Sequence[Path], config: Config) -> None:
    shape = (len(files), 3, config.side_px, config.side_px)
    images = np.lib.format.open_memmap(draft / _PIXELS, mode="w+", dtype=np.uint8, shape=shape)
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            for row, image in enumerate(threads.map(lambda path: _image(path, config), batch), start):
                images[row] = image
    images.flush()
    mean, std = statistics(images, np.arange(len(files)))
    write_json(draft / _ABOUT, {"mean": mean, "std": std})


def _image(path: Path, config: Config) -> np.ndarray:
    """Return an image as `[3, side, side]`: the shorter side scaled to `side_px`, the centre cropped."""
    side = config.side_px
    try:
        with Image.open(path) as file:
            if file.mode != "RGB" and config.not_rgb == "refuse":
                raise InputError(f"{path}: is {file.mode}, not RGB. Set 'not_rgb: convert', or remove the image.")
            image = file.convert("RGB")
    except InputError:
        raise
    except Exception as error:  # a broken image may raise anything, as SyntaxError does
        raise InputError(f"{path}: cannot be read as an image ({error}). Replace it, or remove it.") from error
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
