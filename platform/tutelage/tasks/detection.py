"""Detection of objects: a box and a class for each, by a single-stage, anchor-free network that gives edges as distributions.

The label sequences are `class`, with a step for each cell of the image's grid, whose first class is the background, and
`edges`, with four steps for each cell: how far its middle is from the left, top, right and bottom edge of its object, as a
distribution over whole numbers of strides (generalised focal loss; Li et al., 2020). `tasks._cells` says where cells are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field as Option
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import UNKNOWN, Batch, Examples, Ragged
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.measures._average_precision import contribution, mean_over_thresholds
from tutelage.measures.mean_average_precision import MEASURE as AVERAGE_PRECISION
from tutelage.measures.mean_average_precision_50 import MEASURE as AVERAGE_PRECISION_50
from tutelage.plugins import PluginConfig
from tutelage.signature import BACKGROUND_NAME, OutputSpec
from tutelage.tasks import LabelSequence, Sequences, called
from tutelage.tasks._boxes import LEAST_IOU, giou, right, suppressed
from tutelage.tasks._cells import Assigned, Cells, assigned, boxes_from, cells_of, expected, neighbours, own_strides, strides_of
from tutelage.tasks._html import Cell, captioned, picture, table
from tutelage.tasks._scenes import outlined

SPACE: dict[str, dict[str, object]] = {}
CLASS, EDGES, OBJECTS, BOXES = "class", "edges", "objects", "boxes"
FOCUS = 2.0  # the exponent of the focal loss (Lin et al., 2017)
CANDIDATES = 200  # of an image, the most probable ones, among which non-maximum suppression chooses
MOST_TOO_LARGE = 0.01  # of the objects of training, which no box of a network can find
AT_ONCE = 64  # images whose boxes are compared with each other at a time


class Config(PluginConfig):
    """How edges are represented, how the losses are weighted, and which boxes are predicted."""

    bins: int = Option(
        16, ge=2, le=256, description="classes of an edge's distance: 0 to bins - 1 strides from a cell's middle"
    )
    box_weight: float = Option(2.0, ge=0, le=100, description="weight of the boxes' loss, 1 less the generalised IoU")
    edge_weight: float = Option(0.5, ge=0, le=100, description="weight of the loss of the edges' distributions")
    least_score: float = Option(0.02, ge=0, lt=1, description="boxes of a smaller probability are not predicted")
    most_iou: float = Option(0.6, gt=0, le=1, description="overlap above which the less probable of two boxes is dropped")
    most: int = Option(100, ge=1, le=CANDIDATES, description="most boxes of an image")


def build(config: Config) -> Detection:
    """Return the task."""
    return Detection(config)


class Detected(NamedTuple):
    """The predicted objects of an image, the most probable first: boxes in pixels, classes, and probabilities."""

    boxes: list[list[float]]
    classes: list[int]
    scores: list[float]


class Detection:
    """Objects in images; the primary measure is the mean average precision over IoUs from 0.5 to 0.95."""

    measures: tuple[Measure, ...] = (AVERAGE_PRECISION, AVERAGE_PRECISION_50)

    def __init__(self, config: Config) -> None:
        self._config = config

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return `class`, the background and the classes of objects, and `edges`, over the cells of the image.

        Raises `InputError` for examples without an image, objects or boxes.
        """
        image = next((name for name, one in examples.inputs.items() if one.kind == "image"), None)
        absent = [f"the target '{name}'" for name in (OBJECTS, BOXES) if name not in examples.targets]
        if image is None or absent:
            lacking = ", ".join(absent) or "an image"
            raise InputError(
                f"task 'detection': the data lack {lacking}. The sources `coco` and `digit_scenes` have all that it needs."
            )
        if BACKGROUND_NAME in examples.targets[OBJECTS].names:
            raise InputError(f"task 'detection': a class is called {BACKGROUND_NAME}, as what is no object is. Rename it.")
        names = (BACKGROUND_NAME, *examples.targets[OBJECTS].names)
        edges = OutputSpec(name=EDGES, names=tuple(map(str, range(self._config.bins))), steps=image)
        return (OutputSpec(name=CLASS, names=names, steps=image), edges)

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the logits of the cells' classes `[batch, cells, 1 + classes]` and of the edges `[batch, 4 * cells, bins]`."""
        return {name: LabelSequence(logits=logits) for name, logits in called(model, batch, CLASS, EDGES).items()}

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return each image's loss `[batch]`; 0 for an image whose objects are unknown.

        It is the sum of the classes' focal loss over all cells (Lin et al., 2017), per cell of an object, and of the means over
        the cells of objects of 1 - GIoU and of the edges' divergence in nats (DFL, less its least value).
        """
        logits, edges = sequences[CLASS].logits, sequences[EDGES].logits
        cells = self._cells(sequences, batch)
        found, is_known = self._assigned(cells, batch)
        has_object = (found.objects >= 0) & is_known.unsqueeze(1)
        count = has_object.sum(dim=1).clamp(min=1)
        names = _names_at(batch.targets[OBJECTS], found.objects)
        focal = _focal(logits, names + 1, smoothing).where(is_known.unsqueeze(1), 0.0).sum(dim=1) / count
        target = found.distances.to(edges.dtype)
        apart = 1 - giou(boxes_from(expected(edges), cells), boxes_from(target, cells))
        divergence = _divergence(edges.unflatten(1, (-1, 4)), neighbours(target, edges.shape[-1])).mean(dim=-1)
        boxes = self._config.box_weight * apart + self._config.edge_weight * divergence
        return focal + boxes.where(has_object, 0.0).sum(dim=1) / count

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return what each image contributes to the average precision (`measures._average_precision`)."""
        objects, boxes = (batch.targets[name].cpu() for name in (OBJECTS, BOXES))
        real, num_classes = (objects != UNKNOWN) & batch.masks[OBJECTS].cpu(), sequences[CLASS].logits.shape[-1] - 1
        rows = [
            contribution(
                np.array(found.boxes), np.array(found.classes), np.array(found.scores), true[kept].numpy(),
                classes[kept].numpy(), num_classes, self._config.most,
            )
            for found, true, classes, kept in zip(self.decode(sequences, batch), boxes, objects, real, strict=True)
        ]  # fmt: skip
        values = torch.from_numpy(np.stack(rows))
        return {AVERAGE_PRECISION.name: values, AVERAGE_PRECISION_50.name: values}

    def decode(self, sequences: Sequences, batch: Batch) -> list[Detected]:
        """Return the objects of each image, by non-maximum suppression within each class; boxes are within the image."""
        cells, (height, width) = self._cells(sequences, batch), _sides(batch)
        scores = sequences[CLASS].logits.softmax(dim=-1)[..., 1:]
        boxes = boxes_from(expected(sequences[EDGES].logits), cells)
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
        parts = zip(scores.split(AT_ONCE), boxes.split(AT_ONCE), strict=True)
        return [one for some in parts for one in self._chosen(*some)]

    def _chosen(self, scores: Tensor, boxes: Tensor) -> list[Detected]:
        values, places = scores.flatten(1).sort(dim=1, descending=True, stable=True)
        values, places = values[:, :CANDIDATES], places[:, :CANDIDATES]
        classes, cells = places % scores.shape[-1], places // scores.shape[-1]
        found = boxes.gather(1, cells.unsqueeze(-1).expand(-1, -1, 4))
        is_likely = values >= self._config.least_score
        count = max(1, int(is_likely.sum(dim=1).max()))  # the others are no boxes: they suppress nothing better
        remain = suppressed(found[:, :count], classes[:, :count], self._config.most_iou) & is_likely[:, :count]
        return [
            Detected(*(part[row, :count][kept][: self._config.most].tolist() for part in (found, classes, values)))
            for row, kept in enumerate(remain)
        ]

    def focus(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return for the edges `[batch, 4 * cells]` the probability of an object in their cell."""
        return {EDGES: (1 - sequences[CLASS].logits.softmax(dim=-1)[..., 0]).repeat_interleave(4, dim=1)}

    def regions(self, batch: Batch) -> Tensor:
        """Return the boxes of the known objects as shares of the image's width and height."""
        height, width = _sides(batch)
        is_known = (batch.targets[OBJECTS] != UNKNOWN) & batch.masks[OBJECTS]
        boxes = batch.targets[BOXES].where(is_known.unsqueeze(-1), 0.0)
        return boxes / boxes.new_tensor([width, height, width, height])

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return the image with the boxes of the labels and of each network, and a table of the classes; wrong ones are marked.

        A box is right if it finds an object, of its class, with an IoU of 0.5. Boxes of at least 30 % are shown.
        """
        names, batch = example.targets[OBJECTS].names, example.take(slice(None))
        (image,) = [one.take(slice(None))[0][0] for one in example.inputs.values() if one.kind == "image"]
        kept = (batch.targets[OBJECTS][0] != UNKNOWN) & batch.masks[OBJECTS][0]
        true, boxes = batch.targets[OBJECTS][0][kept].tolist(), batch.targets[BOXES][0][kept]
        pictures, rows = [outlined(image, boxes, [True] * len(true))], {"labels": [Cell(names[one]) for one in true]}
        for role, sequences in outputs.items():
            found = self.decode(sequences, batch)[0]
            count = sum(score >= SHOWN_SCORE for score in found.scores)  # they are sorted
            own = boxes.new_tensor(found.boxes[:count]).view(-1, 4)
            is_right = right(own, found.classes[:count], boxes, true)
            pictures.append(outlined(image, own, is_right))
            rows[role] = [
                Cell(f"{names[one]} {score:.0%}", not fits)
                for one, score, fits in zip(found.classes, found.scores, is_right, strict=False)
            ]
        shown = "".join(captioned(picture(one, role), role) for one, role in zip(pictures, rows, strict=True))
        return shown + table({role: cells or [Cell("—")] for role, cells in rows.items()})

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the validation average precision of one guess for every image: the commonest class in the mean box."""
        seen, boxes = _stored(train, OBJECTS), _stored(train, BOXES)
        kept = seen != UNKNOWN
        if not kept.any():
            return 0.0
        guess, size = int(seen[kept].mode().values), self._config.most
        box, count = boxes[kept].double().mean(dim=0).numpy()[None], len(train.targets[OBJECTS].names)
        targets, masks = validation.take_targets(slice(None))
        rows = [
            contribution(box, np.array([guess]), np.ones(1), true[real].numpy(), classes[real].numpy(), count, size)
            for true, classes, real in zip(targets[BOXES], targets[OBJECTS], masks[OBJECTS], strict=True)
        ]
        return mean_over_thresholds(np.stack(rows))

    def check_steps(self, steps: Mapping[str, int], train: Examples) -> None:
        """Raise `InputError` for steps that are not those of cells, edges that are not four a cell, and too small boxes."""
        image = next(one for one in train.inputs.values() if one.kind == "image")
        assert isinstance(image.values, Tensor)
        strides = strides_of(steps[CLASS], *image.values.shape[-2:])
        if steps[EDGES] != 4 * steps[CLASS]:
            raise InputError(
                f"task 'detection': the network gives {steps[CLASS]} steps of '{CLASS}' and {steps[EDGES]} of '{EDGES}'. Edges "
                "have four steps a cell: left, top, right, bottom."
            )
        self._check_reach(strides, _stored(train, BOXES)[_stored(train, OBJECTS) != UNKNOWN])

    def _check_reach(self, strides: tuple[int, ...], boxes: Tensor) -> None:
        """Raise `InputError` if more than a few boxes are so large that no box with their middle can be right."""
        sides, most = boxes[:, 2:] - boxes[:, :2], self._config.bins - 1
        own = own_strides(sides.amax(dim=-1), torch.tensor(strides, dtype=boxes.dtype))
        best = (2 * most * own.unsqueeze(-1) / sides).clamp(max=1).prod(dim=-1)
        count = int((best < LEAST_IOU).sum())
        if count > MOST_TOO_LARGE * len(boxes):
            worst, bins = best.argmin(), 1 + int((sides.amax(dim=-1) / own / 2).ceil().max())
            raise InputError(
                f"task 'detection': {count:,} of {len(boxes):,} objects are too large for the network, whose edges are at most "
                f"{most} strides (bins - 1) from a cell's middle. One of {sides[worst, 0]:.0f} × {sides[worst, 1]:.0f} px gets "
                f"a box with an IoU of {best[worst]:.2f} at most, at a stride of {own[worst]:.0f} px, and {LEAST_IOU} is "
                f"needed. Set task.detection.bins to {bins}, give the network more stages, or lower the data's side_px."
            )

    def _cells(self, sequences: Sequences, batch: Batch) -> Cells:
        logits = sequences[CLASS].logits
        return cells_of(logits.shape[1], *_sides(batch), logits.device)

    def _assigned(self, cells: Cells, batch: Batch) -> tuple[Assigned, Tensor]:
        """Return what the cells belong to, and booleans `[batch]`, True for images whose objects are known."""
        objects, real = batch.targets[OBJECTS], batch.masks[OBJECTS]
        named = (objects != UNKNOWN) & real
        return assigned(cells, batch.targets[BOXES], named), (named | ~real).all(dim=1)


SHOWN_SCORE = 0.3  # of a box in a report


def _sides(batch: Batch) -> tuple[int, int]:
    image = next(one for one in batch.inputs.values() if one.ndim == 4)
    return image.shape[-2], image.shape[-1]


def _stored(examples: Examples, name: str) -> Tensor:
    values = examples.targets[name].values
    assert isinstance(values, Ragged)
    return values.values


def _names_at(classes: Tensor, objects: Tensor) -> Tensor:
    """Return the class `[batch, cells]` of each cell's object; -1 for none."""
    return classes.gather(1, objects.clamp(min=0)).where(objects >= 0, -1)


def _focal(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the focal loss `[batch, cells]` of labels `[batch, cells]`: the cross-entropy times (1 - p)² of the label."""
    logs = logits.log_softmax(dim=-1)
    true = logs.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    entropy = functional.nll_loss(logs.flatten(0, 1), labels.flatten(), reduction="none").view_as(true)
    smooth = (1 - smoothing) * entropy - smoothing * logs.mean(dim=-1)
    losses: Tensor = (1 - true.exp()) ** FOCUS * smooth
    return losses


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return KL(target ‖ softmax(logits)) over the last axis, in nats."""
    apart: Tensor = torch.special.xlogy(target, target) - target * logits.log_softmax(dim=-1)
    return apart.sum(dim=-1)
