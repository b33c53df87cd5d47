"""Images with boxes in COCO's JSON, in folders with a file `annotations.json`; train, val and test are optional.

Images that the file does not name are left out, and so are annotations of crowds. An image without annotations has no objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field as Option

from tutelage.data import Examples, SplitName
from tutelage.data._broken import all_in_one, attempt, errors_in, read_all
from tutelage.data._coco import TOLERANCE_PX, Annotated, annotated, check_alike
from tutelage.data._decode import is_turned, upright
from tutelage.data._folders import split_folders
from tutelage.data._image_files import unnamed
from tutelage.data._objects import Objects, note_on_objects, object_examples
from tutelage.data._splitting import check_rows, draw, how_split, notes_on_alike, statistics
from tutelage.errors import InputError
from tutelage.files import existing_folder
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
Axes = tuple[float, float]  # of the width and of the height
PADDING = 114  # the grey level beside images that are not square


class Config(PluginConfig):
    """The path of the images; each is scaled so that its longer side is `side_px`, and padded to a square."""

    path: str = Option(
        description="the folder with the images and their annotations, or with folders train, val and test of such"
    )
    annotations: str = Option(
        "annotations.json", min_length=1, description="COCO's JSON of each folder, with images, annotations, categories"
    )
    side_px: int = Option(256, ge=32, le=4096, description="height and width of an image as a network takes it, pixels")
    not_rgb: Literal["refuse", "convert"] = Option("convert", description="what to do with a grey, palette or CMYK image")
    animated: Literal["refuse", "first"] = Option("refuse", description="what to do with an image of several frames or pages")
    background: Literal["white", "black"] = Option("white", description="what transparent images are put on")
    validation_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the images without a val folder")
    test_share: float = Option(0.1, gt=0.0, lt=0.5, description="share of the images without a test folder")


def read(config: Config, seed: int, split: SplitName) -> Examples:
    """Return one split: `image` `[3, side_px, side_px]`, and the ragged targets `objects` and `boxes`.

    The classes are the categories of the training file, by id. Raises `InputError` for all that is wrong at once, each with its
    file and id: images that are not there, cannot be read or have another size; annotations of unknown images or categories;
    boxes outside of their image or of no area; ids that stand twice.
    """
    root = existing_folder(config.path)
    roots = split_folders(root) or {"train": root}
    wanted: list[SplitName] = ["train", *([split] if split in roots and split != "train" else [])]
    others = [partial(annotated, roots[name], config.annotations) for name in roots if name not in wanted]
    training, *own = read_all([partial(annotated, roots[name], config.annotations) for name in wanted], others, what="folders")
    shares = (
        None if "validation" in roots else config.validation_share, None if "test" in roots else config.test_share,
    )  # fmt: skip
    drawn = draw(np.zeros(len(training.images), dtype=np.int64), seed, *shares, str(training.file))
    known = sorted(training.categories)
    chosen = own[0] if own else training.take(getattr(drawn, split).tolist())
    check_alike(chosen, training)
    check_rows(np.array(chosen.images), split, str(chosen.file))
    if not any(chosen.labels):
        raise InputError(f"{chosen.file}: no image of the {split} split has an object. {_way_to_objects(split, roots)}")
    images, scales = _read_images(chosen, config)
    objects = [
        Objects(
            np.minimum(boxes, [*size, *size]) * [*scale, *scale], np.array([known.index(one) for one in labels], dtype=np.int64)
        )
        for boxes, labels, (size, scale) in zip(chosen.boxes, chosen.labels, scales, strict=True)
    ]
    mean, std = _statistics(images if split == "train" and not own else None, training.take(drawn.train.tolist()), config)
    notes = (
        *how_split(*shares, what="the images"),
        note_on_objects(split, objects),
        *_left_out(chosen, own[0] if own else training),
        *_turned(split, chosen),
        *notes_on_alike([training.categories[one] for one in known], "categories"),
    )
    names = tuple(training.categories[one] for one in known)
    return object_examples(images, objects, names, notes=notes, mean=mean, std=std)


def _way_to_objects(split: SplitName, roots: Mapping[SplitName, Path]) -> str:
    if split in roots:
        return "Annotate some of its images."
    return f"Its images are drawn: annotate more of all, or put some with objects into a folder '{split}'."


def _turned(split: SplitName, chosen: Annotated) -> tuple[str, ...]:
    count = sum(map(is_turned, chosen.images))
    if not count:
        return ()
    return (f"{split}: {count:,} images are turned as their EXIF says; their boxes are read as those of the turned images",)


def _left_out(chosen: Annotated, whole: Annotated) -> tuple[str, ...]:
    found = unnamed(whole.folder, whole.images, whole.file)
    return (*found, *([f"left out {whole.crowds:,} annotations of crowds in {whole.file}"] if whole.crowds else []))


def _read_images(given: Annotated, config: Config) -> tuple[np.ndarray, list[tuple[Axes, Axes]]]:
    """Return the images, uint8 `[n, 3, side, side]`, and the size and scale of each by axis.

    Raises one `InputError` for all that cannot be read.
    """
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(lambda row: attempt(lambda: _squared(given, row, config)), range(len(given.images))))
    if wrong := errors_in(found):
        raise all_in_one(wrong, len(found), "images")
    read = [one for one in found if not isinstance(one, InputError)]
    return np.stack([image for image, *_ in read]), [(size, scale) for _, size, scale in read]


def _squared(given: Annotated, row: int, config: Config) -> tuple[np.ndarray, Axes, Axes]:
    """Return an image, uint8 `[3, side, side]`, scaled to the left and upper side of a square, its size before, and its scale.

    The scales of width and height differ as far as both are whole pixels.
    """
    path, size = given.images[row], given.sizes[row]
    image = upright(path, config.not_rgb, config.background, config.animated)
    if size is not None and image.size != size:
        turned = ", turned as its EXIF says" if is_turned(path) else ""
        raise InputError(
            f"{path}: has {image.size[0]} × {image.size[1]} px{turned}, and {size[0]} × {size[1]} in {given.file}. Correct "
            "them there, and the boxes if they are of that size; or put the image there that was annotated."
        )
    boxes = given.boxes[row]
    is_out = (boxes[:, :2] >= image.size).any(axis=1) | (boxes[:, 2:] > np.array(image.size) + TOLERANCE_PX).any(axis=1)
    for left, top, right, bottom in boxes[is_out].tolist():
        raise InputError(
            f"{path}: its box [{left:g}, {top:g}, {right - left:g}, {bottom - top:g}] (left, top, width, height) in "
            f"{given.file} stands out of its {image.size[0]} × {image.size[1]} px. Correct it, or remove the annotation."
        )
    scale = config.side_px / max(image.size)
    sides = [max(1, min(config.side_px, round(side * scale))) for side in image.size]
    square = np.full((config.side_px, config.side_px, 3), PADDING, dtype=np.uint8)
    square[: sides[1], : sides[0]] = np.asarray(image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR))
    exact = sides[0] / image.size[0], sides[1] / image.size[1]
    return np.ascontiguousarray(square.transpose(2, 0, 1)), image.size, exact


def _statistics(
    images: np.ndarray | None, training: Annotated, config: Config
) -> tuple[tuple[float, ...], tuple[float, ...]]:  # fmt: skip
    """Return the mean and deviation of each channel of the training images, which are read if `images` are those of a split."""
    if images is None:
        images, _ = _read_images(training, config)
    return statistics(images, np.arange(len(images)))
