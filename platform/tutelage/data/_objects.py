"""Images with objects in them: a box and a class for each, boxes in pixels as left, top, right and bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from tutelage.data import UNKNOWN, Examples, Field, Ragged, ragged
from tutelage.data._splitting import statistics
from tutelage.errors import InputError

IMAGE, OBJECTS, BOXES = "image", "objects", "boxes"


class Objects(NamedTuple):
    """The objects of one image: boxes `[objects, 4]` in pixels (left, top, right, bottom), and the class of each."""

    boxes: np.ndarray
    classes: np.ndarray


UNLABELLED = Objects(np.zeros((1, 4)), np.array([UNKNOWN]))


def object_examples(
    images: np.ndarray, objects: Sequence[Objects | None], names: Sequence[str], *, notes: tuple[str, ...],
    mean: tuple[float, ...] = (), std: tuple[float, ...] = (),
) -> Examples:  # fmt: skip
    """Return examples with `image` `[n, channels, height, width]` and the ragged targets `objects` and `boxes`.

    Images are uint8. None marks an image whose objects are unknown: it has one object of class `UNKNOWN`, and a box of no area.
    An image without objects has none. Without `mean` and `std`, each channel is normalised by its own over these images.
    """
    found = [UNLABELLED if one is None else one for one in objects]
    if not mean:
        mean, std = statistics(images, np.arange(len(images)))
    classes = [torch.from_numpy(one.classes.astype(np.int64)) for one in found]
    boxes = [torch.from_numpy(one.boxes.astype(np.float32).reshape(-1, 4)) for one in found]
    return Examples(
        inputs={IMAGE: Field(values=torch.from_numpy(images), kind="image", mean=mean, std=std)},
        targets={
            OBJECTS: Field(values=ragged(classes), kind="class", names=tuple(names)),
            BOXES: Field(values=ragged(boxes), kind="boxes"),
        },
        notes=notes,
    )


def note_on_objects(split: str, objects: Sequence[Objects | None]) -> str:
    """Return a sentence on the objects of a split."""
    known = [one for one in objects if one is not None]
    counts, empty = sum(len(one.classes) for one in known), sum(not len(one.classes) for one in known)
    unlabelled = f", {len(objects) - len(known):,} without labels" if len(known) < len(objects) else ""
    return f"{split}: {len(objects):,} images with {counts:,} objects, {empty:,} images without any{unlabelled}"


def check_some(examples: Examples, split: str) -> None:
    """Raise `InputError` for images with boxes of which none has an object: no average precision is known there."""
    for name, field in examples.targets.items():
        if field.kind == "boxes" and isinstance(field.values, Ragged) and not len(field.values.values):
            raise InputError(
                f"the {split} split: none of its {len(examples):,} images has an object ('{name}' is empty), so nothing can be "
                "measured there. Give it more images, some with objects."
            )
