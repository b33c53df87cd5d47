"""Photographs in one folder a class, decoded once into a memory-mapped cache; with train, val and test folders or without."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from tutelage.data import Split, SplitName
from tutelage.errors import InputError
from tutelage.files import existing, write_json
from tutelage.plugins import PluginConfig
from tutelage.splitting import check_classes, check_rows, draw, made, statistics

SPACE: dict[str, dict[str, object]] = {}
_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_FOLDERS: dict[str, SplitName] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_BATCH = 1024  # images that wait for a thread at a time
_PIXELS, _ABOUT = "images.npy", "about.json"


class Config(PluginConfig):
    """Where the images are, and what is made of each: its shorter side `side_px`, and the square in its middle."""

    path: str = Field(description="the folder with one folder a class, or with train, val and test that hold those")
    side_px: int = Field(64, ge=4, le=1024, description="height and width of an image as it is stored, pixels")
    not_rgb: Literal["refuse", "convert"] = Field("refuse", description="what to do with a grey, palette or CMYK image")
    cache: str = Field("~/.cache/tutelage/images", description="the folder of decoded images, on each machine")
    validation_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the images, of each class, without a val folder")
    test_share: float = Field(0.1, gt=0.0, lt=0.5, description="share of the images, of each class, without a test folder")


def read(config: Config, seed: int, split: SplitName) -> Split:
    """Return one split: inputs uint8 `[n, 3, side_px, side_px]`, memory-mapped, labels `[n, 1]`."""
    root = existing(config.path)
    roots = _roots(root)
    train_root = roots.get("train", root)
    class_names = _folders(train_root)
    check_classes(class_names, str(train_root))
    files, labels = _files(train_root, class_names, every_class=True)
    drawn = draw(
        labels,
        seed,
        None if "validation" in roots else config.validation_share,
        None if "test" in roots else config.test_share,
    )
    check_rows(drawn.train, "train", str(train_root))
    train = [files[row] for row in drawn.train]
    if split != "train" and split in roots:
        chosen, chosen_labels = _files(roots[split], class_names, every_class=False)
    else:
        rows = getattr(drawn, split)
        chosen, chosen_labels = [files[row] for row in rows], labels[rows]
    check_rows(chosen_labels, split, str(roots.get(split, train_root)))
    _, mean, std = _decoded(train, root, config)
    images, _, _ = _decoded(chosen, root, config)
    return made(images, chosen_labels, class_names, mean, std)


def _roots(root: Path) -> dict[SplitName, Path]:
    """Return the folders of the splits; none if the classes stand in `root` itself."""
    found = {split: root / name for name, split in _FOLDERS.items() if (root / name).is_dir()}
    return found if "train" in found else {}


def _folders(root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _files(root: Path, class_names: Sequence[str], every_class: bool) -> tuple[list[Path], np.ndarray]:
    """Return the images under `root` in the order of classes and names, each with its class index.

    Raises `InputError` for a folder of another class, and, with `every_class`, for a class without an image.
    """
    if strange := sorted(set(_folders(root)) - set(class_names)):
        raise InputError(
            f"{root / strange[0]}: is no class of the training folder ({', '.join(class_names[:5])}, …). Rename it."
        )
    files, labels = [], []
    for number, name in enumerate(class_names):
        folder = root / name
        inside = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS) if folder.is_dir() else []
        files += inside
        labels += [number] * len(inside)
        if not inside and every_class:
            raise InputError(f"{folder}: holds no image ({', '.join(sorted(_ENDINGS))}). Fill it, or take the folder away.")
    return files, np.array(labels, dtype=np.int64)


def _decoded(files: Sequence[Path], root: Path, config: Config) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Return `files` as uint8 `[n, 3, side, side]` with their mean and spread, from the cache; decode them if it has none."""
    known = [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    parts = json.dumps([1, str(root), known, config.side_px, config.not_rgb])
    entry = Path(config.cache).expanduser() / hashlib.sha256(parts.encode()).hexdigest()[:16]
    if not entry.is_dir():
        _decode(files, entry, config)
    about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
    # Copy-on-write: a tensor needs memory that may be written to, and nothing reaches the file.
    return np.load(entry / _PIXELS, mmap_mode="c", allow_pickle=False), tuple(about["mean"]), tuple(about["std"])


def _decode(files: Sequence[Path], entry: Path, config: Config) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
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
        draft.chmod(0o755)
        draft.rename(entry)
    except OSError as error:
        if not entry.is_dir():
            raise InputError(f"{entry.parent}: the decoded images cannot be kept there ({error}). Change 'cache'.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # gone already, unless it failed or another process was first


def _image(path: Path, config: Config) -> np.ndarray:
    """Return an image as `[3, side, side]`: the shorter side scaled to `side_px`, the middle kept."""
    side = config.side_px
    try:
        with Image.open(path) as file:
            if file.mode != "RGB" and config.not_rgb == "refuse":
                raise InputError(f"{path}: is {file.mode}, not RGB. Set 'not_rgb: convert', or take it out.")
            image = file.convert("RGB")
    except InputError:
        raise
    except Exception as error:  # a broken image may raise anything, as SyntaxError does
        raise InputError(f"{path}: not an image that can be read ({error}). Mend it, or take it out.") from error
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
