"""COCO's JSON: images, the boxes of their objects, and categories, with an error for all that is wrong, by file and id."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data._broken import all_in_one
from tutelage.data._folders import is_file
from tutelage.data._image_files import misnamed
from tutelage.data._labels import is_text
from tutelage.errors import InputError, nearest

LEAST_PX = 0.01  # a side of a box that is no longer has no area: float32 does not hold it
TOLERANCE_PX = 1.0  # by which a box may stand out of its image; it is cut there


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The images in `folder` that an annotation file names: the path and size of each, its boxes and their categories' ids."""

    folder: Path
    file: Path
    categories: Mapping[int, str]
    images: list[Path]
    sizes: list[tuple[int, int] | None]
    boxes: list[np.ndarray]
    labels: list[list[int]]
    crowds: int

    def take(self, rows: Sequence[int]) -> Annotated:
        """Return the images `rows`."""
        parts: dict[str, Any] = {
            name: [getattr(self, name)[row] for row in rows] for name in ("images", "sizes", "boxes", "labels")
        }
        return replace(self, **parts)


def annotated(folder: Path, name: str) -> Annotated:
    """Return the images and boxes of a folder. Raises `InputError` for all that is wrong in its file `name`."""
    file = folder / name
    document = _document(file, folder)
    wrong: list[InputError] = []
    categories = _by_id(file, "categories", document["categories"], "name", wrong)
    images = _by_id(file, "images", document["images"], "file_name", wrong)
    has_ids = bool(categories) and not wrong  # otherwise, annotations may name what is listed already
    wrong += _wrong_images(file, folder, images) + _wrong_categories(file, categories)
    boxes: dict[int, list[list[float]]] = {one: [] for one in images}
    labels: dict[int, list[int]] = {one: [] for one in images}
    wrong += _repeated_ids(file, document["annotations"])
    crowds = 0
    for number, given in enumerate(document["annotations"]):
        faults = [*_wrong_ids(given, images, categories), *_faults(given, images)]
        wrong += [InputError(f"{_where(file, number, given)} {one}") for one in (faults if has_ids else _faults(given, images))]
        if not faults and given.get("iscrowd", 0):
            crowds += 1
        elif not faults:
            boxes[given["image_id"]].append(_corners(given["bbox"], images[given["image_id"]]))
            labels[given["image_id"]].append(given["category_id"])
    if wrong:
        count = sum(len(document[part]) for part in _PARTS)
        raise all_in_one(wrong, count, "entries")
    _check_pixels(file, [corner for one in boxes.values() for box in one for corner in box])
    order = sorted(images)
    return Annotated(
        folder=folder, file=file, categories={one: str(given["name"]) for one, given in categories.items()},
        images=[folder / images[one]["file_name"] for one in order], sizes=[_size(images[one]) for one in order],
        boxes=[np.array(boxes[one], dtype=np.float64).reshape(-1, 4) for one in order],
        labels=[labels[one] for one in order], crowds=crowds,
    )  # fmt: skip


_PARTS = ("images", "annotations", "categories")


def _document(file: Path, folder: Path) -> dict[str, Any]:
    """Return the parts of an annotation file. Raises `InputError` for another file than COCO's."""
    if not is_file(file):
        hint = nearest(file.name, [one.name for one in folder.iterdir() if one.is_file()])
        raise InputError(f"{file}: is not there.{hint} It is COCO's JSON; the option 'annotations' is its name.")
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}). Save it as UTF-8.") from error
    lacking = [one for one in _PARTS if not isinstance(document, dict) or not isinstance(document.get(one), list)]
    if lacking:
        raise InputError(f"{file}: has no list of {', '.join(lacking)}. COCO's JSON has {', '.join(_PARTS)}.")
    if not document["images"]:
        raise InputError(f"{file}: names no image. Is it the right file?")
    return document  # type: ignore[no-any-return]


def _by_id(
    file: Path, part: str, entries: Sequence[Any], needed: str, wrong: list[InputError]
) -> dict[int, dict[str, Any]]:  # fmt: skip
    """Return the entries of a part by id; those without an id or the text `needed`, or with another's id, go to `wrong`."""
    found: dict[int, dict[str, Any]] = {}
    for number, given in enumerate(entries):
        where = f"{file}, {part}[{number}]:"
        if not isinstance(given, dict) or not _is_id(given.get("id")):
            own = given.get("id") if isinstance(given, dict) else given
            wrong.append(InputError(f"{where} has no id that is a whole number, but {own!r:.40}."))
        elif not isinstance(text := given.get(needed), str) or not text:
            wrong.append(InputError(f"{where} id {given['id']} has no {needed} that is a text, but {text!r:.40}."))
        elif given["id"] in found:
            wrong.append(InputError(f"{where} id {given['id']} stands twice. Give each its own."))
        else:
            found[given["id"]] = given
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong_images(file: Path, folder: Path, images: Mapping[int, Mapping[str, Any]]) -> list[InputError]:
    faults = misnamed(folder, [given["file_name"] for given in images.values()])
    named = [(one, faults[given["file_name"]]) for one, given in images.items() if given["file_name"] in faults]
    wrong = [InputError(f"{file}, image {one}: {fault}") for one, fault in named]
    for one, given in images.items():
        if _size(given) is None and (sides := [given.get(axis) for axis in ("width", "height")]) != [None, None]:
            listed = " and ".join(f"{side!r:.40}" for side in sides)
            wrong.append(
                InputError(f"{file}, image {one}: its width and height are {listed}, not whole numbers of pixels above 0.")
            )
    first: dict[Path, int] = {}
    for one, given in images.items():
        other = first.setdefault(folder / given["file_name"], one)
        if other != one:  # it may be in training and in test
            wrong.append(
                InputError(f"{file}, image {one}: has the file of image {other}. Give all its annotations one image_id.")
            )
    return wrong


def _wrong_categories(file: Path, categories: Mapping[int, Mapping[str, Any]]) -> list[InputError]:
    names = [given["name"] for given in categories.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    listed = [
        InputError(f"{file}: two categories are called '{name}'. Give them different names, or one id.") for name in twice
    ]
    odd = [name for name in names if not is_text(name)]
    listed += [InputError(f"{file}: the category {name!r} has a name that is not UTF-8.") for name in odd]
    return listed if categories else [InputError(f"{file}: has no category with an id and a name.")]


def _repeated_ids(file: Path, annotations: Sequence[Any]) -> list[InputError]:
    """Return an error for each annotation with the id of an earlier one, as in files that were put together."""
    first: dict[int, int] = {}
    wrong = []
    for number, given in enumerate(annotations):
        own = given.get("id") if isinstance(given, dict) else None
        if isinstance(own, int) and _is_id(own) and first.setdefault(own, number) != number:
            also = f"stands in annotations[{first[own]}] too. Give each its own, or remove one"
            wrong.append(InputError(f"{file}, annotations[{number}]: id {own} {also}."))
    return wrong


def _where(file: Path, number: int, given: Any) -> str:
    named = f"annotation {given['id']}" if isinstance(given, dict) and "id" in given else f"annotations[{number}]"
    return f"{file}, {named}:"


def _wrong_ids(given: Any, images: Mapping[int, Any], categories: Mapping[int, Any]) -> Iterator[str]:
    """Give a sentence for an image or a category of an annotation that is not there."""
    image, category = (given.get(key) if isinstance(given, dict) else None for key in ("image_id", "category_id"))
    if isinstance(given, dict) and (not _is_id(image) or image not in images):
        yield f"its image_id is {image!r:.40}, and no valid image has this id."
    if isinstance(given, dict) and (not _is_id(category) or category not in categories):
        yield f"its category_id is {category!r:.40}; the categories are {', '.join(map(str, sorted(categories)))}."


def _faults(given: Any, images: Mapping[Any, Any]) -> Iterator[str]:
    """Give a sentence for everything else that is wrong in an annotation."""
    if not isinstance(given, dict):
        yield f"is {given!r:.40}, not an object with image_id, category_id and bbox."
        return
    image, crowd, box = given.get("image_id"), given.get("iscrowd", 0), given.get("bbox")
    entry = images.get(image, {}) if _is_id(image) else {}
    if crowd not in (0, 1):
        yield f"its iscrowd is {crowd!r:.40}. It is 0 for an object, and 1 for a crowd, which is left out."
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(one) for one in box):
        yield f"its bbox is {box!r:.60}, not four numbers: left, top, width and height in pixels."
    elif (size := _size(entry)) and not _is_within(box, size):
        where = f"image {image}, which has {size[0]} × {size[1]} px"
        yield f"its box {box} (left, top, width, height) stands out of {where}. Correct it, or remove the annotation."
    elif not _has_area(_corners(box, entry)):
        yield f"its box {box} has no area within image {image}. Correct it, or remove the annotation."


def _check_pixels(file: Path, corners: Sequence[float]) -> None:
    """Raise `InputError` for boxes that are all within the first pixel of their images, as shares of their sides would be."""
    if corners and max(corners) <= 1:
        raise InputError(
            f"{file}: all boxes are within the first pixel of their images, as if they were shares of width and height. A bbox "
            "is left, top, width and height in pixels: multiply them."
        )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max  # 10**400 too


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the width and height of an image as the file has them; None if it does not."""
    sides = image.get("width"), image.get("height")
    return sides if all(_is_id(one) and one > 0 for one in sides) else None  # type: ignore[operator, return-value]


def _is_within(box: Sequence[float], size: tuple[int, int]) -> bool:
    ends = [box[axis] + box[axis + 2] for axis in (0, 1)]
    return min(box[:2]) >= -TOLERANCE_PX and all(end <= side + TOLERANCE_PX for end, side in zip(ends, size, strict=True))


def _has_area(corners: Sequence[float]) -> bool:
    return corners[2] - corners[0] > LEAST_PX and corners[3] - corners[1] > LEAST_PX


def _corners(box: Sequence[float], image: Mapping[str, Any]) -> list[float]:
    """Return a box as left, top, right and bottom, cut at its image."""
    width, height = _size(image) or (math.inf, math.inf)
    left, top = max(0.0, box[0]), max(0.0, box[1])
    return [left, top, min(width, box[0] + box[2]), min(height, box[1] + box[3])]


def check_alike(chosen: Annotated, training: Annotated) -> None:
    """Raise `InputError` for categories of a split that training does not have, or has under another name."""
    for one, name in chosen.categories.items():
        if training.categories.get(one) != name:
            there = training.categories.get(one)
            other = f"'{there}'" if there is not None else "nothing"
            raise InputError(
                f"{chosen.file}: category {one} is '{name}', and {other} in {training.file}. Use the same categories."
            )
