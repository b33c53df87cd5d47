"""Average precision of boxes as COCO computes it: what each image contributes, and its value over images (Lin et al., 2014).

The numbers are those of pycocotools and of faster-coco-eval for boxes of all sizes; these libraries do not give what an image
contributes, which a bootstrap over images needs. Crowds are not counted: a data source leaves them out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tutelage.measure import Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU from which a box is right
RECALLS = np.linspace(0.0, 1.0, 101)  # at which the precision is read
_BITS = 2.0 ** np.arange(len(THRESHOLDS))
_COLUMNS = 3  # of a detection: class, score, and a bit for each threshold at which it is right
_NONE = -1.0  # the class of a detection that is not there


def contribution(
    boxes: Array, classes: NDArray[np.int64], scores: Array, true: Array, true_classes: NDArray[np.int64], num_classes: int,
    most: int,
) -> Array:  # fmt: skip
    """Return what an image contributes, float64 `[1 + num_classes + 3 * most]`.

    These are the number of classes, the number of true objects of each, and at most `most` detections, which are given with
    the best first: boxes `[detections, 4]` as left, top, right and bottom, their classes and scores. `true` are the boxes of
    the objects.
    """
    found = np.full((most, _COLUMNS), _NONE)
    bits = matches(boxes.reshape(-1, 4), classes, true.reshape(-1, 4), true_classes) @ _BITS
    count = min(most, len(scores))
    found[:count] = np.stack([classes, scores, bits], axis=1)[:count] if count else found[:0]
    counts = np.bincount(true_classes.astype(np.int64), minlength=num_classes)
    return np.concatenate([[num_classes], counts, found.ravel()]).astype(np.float64)


def matches(boxes: Array, classes: NDArray[np.int64], true: Array, true_classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return booleans `[detections, thresholds]`, True for a detection that is right.

    In their order, each detection takes that object of its class, of those not taken yet, with which it has the largest IoU;
    of equal ones the last. It is right if the IoU is a threshold or more.
    """
    overlaps = _ious(boxes, true)
    overlaps[classes[:, None] != true_classes[None, :]] = -1.0
    right = np.zeros((len(boxes), len(THRESHOLDS)), dtype=bool)
    is_free = np.ones((len(THRESHOLDS), len(true)), dtype=bool)
    least = np.minimum(THRESHOLDS, 1 - 1e-10)
    for place in np.flatnonzero((overlaps >= least[0]).any(axis=1)):
        open_to = np.where(is_free & (overlaps[place] >= least[:, None]), overlaps[place], -1.0)
        best = len(true) - 1 - open_to[:, ::-1].argmax(axis=1)
        rows = np.flatnonzero(open_to.max(axis=1) > 0)
        right[place, rows] = True
        is_free[rows, best[rows]] = False
    return right


def _ious(boxes: Array, true: Array) -> Array:
    corners = np.minimum(boxes[:, None, 2:], true[None, :, 2:]) - np.maximum(boxes[:, None, :2], true[None, :, :2])
    common = corners.clip(0).prod(axis=2)
    areas = [(some[:, 2:] - some[:, :2]).prod(axis=1) for some in (boxes, true)]
    union = areas[0][:, None] + areas[1][None, :] - common
    shares: Array = np.divide(common, union, out=np.zeros_like(common, dtype=np.float64), where=union > 0)
    return shares


class Ranked(NamedTuple):
    """The detections of all images by class, each class's best first: `is_right` `[thresholds, detections]`, their class, the
    number of objects of each class, and where each class begins."""

    is_right: NDArray[np.bool_]
    classes: NDArray[np.int64]
    counts: Array
    starts: NDArray[np.int64]


def ranked(contributions: Array) -> Ranked:
    """Return the detections in contributions `[images, k]`; of equal scores the earlier image counts first."""
    num_classes = int(contributions[0, 0])
    rows = contributions[:, 1 + num_classes :].reshape(-1, _COLUMNS)
    rows = rows[rows[:, 0] != _NONE]
    rows = rows[np.lexsort((-rows[:, 1], rows[:, 0]))]
    classes, bits = rows[:, 0].astype(np.int64), rows[:, 2].astype(np.int64)
    is_right = (bits[None, :] >> np.arange(len(THRESHOLDS))[:, None]) & 1 == 1
    counts = contributions[:, 1 : 1 + num_classes].sum(axis=0)
    return Ranked(is_right, classes, counts, np.searchsorted(classes, np.arange(num_classes)))


def by_threshold(contributions: Array) -> Array:
    """Return the mean average precision `[thresholds]` over the classes that have objects; NaN without any object."""
    found = ranked(contributions)
    kept = found.counts > 0
    if not kept.any():
        return np.full(len(THRESHOLDS), np.nan)
    return np.array([_precisions(found, row)[kept].mean() for row in range(len(THRESHOLDS))])


def _precisions(found: Ranked, threshold: int) -> Array:
    """Return the average precision `[classes]`: the mean of the largest precision at 101 recalls or above each."""
    classes, starts, num_classes = found.classes, found.starts, len(found.counts)
    right = np.concatenate([[0], found.is_right[threshold].cumsum()])
    hits = right[1:] - right[starts][classes]
    rank = np.arange(1, len(classes) + 1) - starts[classes]
    below = 2.0 * (num_classes - 1 - classes)  # so that a running maximum from the end never mixes two classes
    envelope = np.maximum.accumulate((hits / rank + below)[::-1])[::-1] - below
    needed = np.stack([_needed(int(count)) for count in found.counts])
    apart = int(needed.max()) + 1  # more than the hits of a class: a class's hits and those of the next are never mixed
    places = np.searchsorted(hits + apart * classes, (needed + apart * np.arange(num_classes)[:, None]).ravel())
    ends = np.append(starts[1:], len(classes)).repeat(len(RECALLS))
    values = np.where(places < ends, np.append(envelope, 0.0)[places], 0.0)
    means: Array = values.reshape(num_classes, len(RECALLS)).mean(axis=1)
    return means


@lru_cache(maxsize=4096)
def _needed(count: int) -> NDArray[np.int64]:
    """Return how many of `count` objects each of the 101 recalls needs."""
    return np.searchsorted(np.arange(count + 1) / max(1, count), RECALLS)


def mean_over_thresholds(contributions: Array) -> float:
    """Return the mean average precision over IoUs of 0.50, 0.55, …, 0.95; NaN for images without any object."""
    return float(by_threshold(contributions).mean())


def at_a_half(contributions: Array) -> float:
    """Return the mean average precision at an IoU of 0.5; NaN for images without any object."""
    found = ranked(contributions)
    kept = found.counts > 0
    return float(_precisions(found, 0)[kept].mean()) if kept.any() else float("nan")
