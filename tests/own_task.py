"""A user's own task, none of it known to the package: scans read row by row, their digit, and two measures of both.

A scan is a sequence of the rows that hold most of its ink, 1 to 8 of them. A network names the scan's digit, and for each row
how dark it is. Specs refer to what is here as `tests.own_task:Name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from pydantic import Field as Option
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tutelage.data import UNKNOWN, Batch, Examples, Field, SplitName, ragged
from tutelage.measure import Array, Measure
from tutelage.models import heads
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec, Signature
from tutelage.tasks import LabelSequence, Sequences, called, cross_entropy

FULLEST = 16.0 * 8
SHADES, SHADE_BOUNDS = ("faint", "light", "dark", "full"), (40.0, 47.0, 56.0)  # bounds of a row's ink: about its quartiles
ROUND = (0, 6, 8, 9)  # digits with a loop


class Scans:
    """The dark rows of scikit-learn's digits."""

    SPACE: dict[str, Any] = {}

    class Config(PluginConfig):
        """Which rows of a scan there are."""

        share: float = Option(0.6, gt=0, le=1, description="least ink of a row, as a share of that of the scan's fullest")

    @staticmethod
    def read(config: Config, seed: int, split: SplitName) -> Examples:
        """Return one split: frames `[rows, 8]`, the digit, and the shade of every row."""
        scans = load_digits()
        order = np.random.default_rng(seed).permutation(len(scans.target))
        rows = {"train": order[:900], "validation": order[900:1300], "test": order[1300:]}[split]
        kept = [_dark_rows(scans.images[row], config.share) for row in rows]
        shades = [torch.from_numpy(np.digitize(one.sum(axis=1), SHADE_BOUNDS)) for one in kept]
        frames = ragged([torch.from_numpy(one).float() / 16 for one in kept])
        return Examples(
            inputs={"frames": Field(values=frames, kind="frames")},
            targets={
                "class": Field(values=torch.from_numpy(scans.target[rows]), kind="class", names=tuple("0123456789")),
                "rows": Field(values=ragged(shades), kind="class", names=SHADES),
            },
        )


def _dark_rows(scan: np.ndarray, share: float) -> np.ndarray:
    ink = scan.sum(axis=1)
    kept: np.ndarray = scan[ink >= share * ink.max()]
    return kept


def error_rate(contributions: Array) -> float:
    """Return all edits over the length of all references; 0 without any."""
    edits, length = contributions.sum(axis=0)
    return float(edits / length) if length else 0.0


def micro_f1(contributions: Array) -> float:
    """Return 2 tp / (2 tp + fp + fn) over all examples; 1 where there is nothing to find."""
    tp, fp, fn = contributions.sum(axis=0)
    return float(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else 1.0


ROW_ERROR_RATE = Measure(
    name="row_error_rate", label="row error rate", unit="edits a shade", direction="minimise",
    meaning="edits from the sequence of shades that was read to the true one, over the length of the true one",
    low=0.0, reference=2.0, available="each_epoch", spread="corpus", aggregate=error_rate,
)  # fmt: skip
LOOP_F1 = Measure(
    name="loop_f1", label="F1 of loops", unit="share", direction="maximise",
    meaning="micro F1 of finding the digits that have a loop", low=0.0, high=1.0, reference=0.0, available="each_epoch",
    spread="corpus", aggregate=micro_f1,
)  # fmt: skip


class ReadRows:
    """The shades of a scan's rows, runs of one shade read as one, and its digit."""

    SPACE: dict[str, Any] = {}

    class Config(PluginConfig):
        """How the two are weighed."""

        rows_weight: float = Option(0.5, ge=0, le=1, description="share of the rows' loss in an example's loss")

    @staticmethod
    def build(config: Config) -> ReadRowsTask:
        """Return the task."""
        return ReadRowsTask(config.rows_weight)


class ReadRowsTask:
    """Its six verbs."""

    measures = (ROW_ERROR_RATE, LOOP_F1)

    def __init__(self, rows_weight: float) -> None:
        self.rows_weight = rows_weight

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return a step for each row, and one for the digit."""
        names = {name: target.names for name, target in examples.targets.items()}
        return (
            OutputSpec(name="rows", names=names["rows"], steps="frames"),
            OutputSpec(name="class", names=names["class"]),
        )

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return both label sequences; the mask of the rows is that of the frames."""
        found = called(model, batch, "rows", "class")
        return {
            "rows": LabelSequence(logits=found["rows"], mask=batch.masks["frames"]),
            "class": LabelSequence(logits=found["class"]),
        }

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the weighted sum of both cross-entropies."""
        rows = cross_entropy(sequences["rows"], batch.targets["rows"], smoothing)
        digit = cross_entropy(sequences["class"], batch.targets["class"].unsqueeze(1), smoothing)
        return self.rows_weight * rows + (1 - self.rows_weight) * digit

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return (edits, length of the reference) and (tp, fp, fn) of every example."""
        read, digits = self.decode(sequences, batch)
        truth = _runs(batch.targets["rows"], batch.targets["rows"] != UNKNOWN)
        edits = torch.tensor([[edit_distance(a, b), len(b)] for a, b in zip(read, truth, strict=True)])
        said, true = (torch.isin(one, torch.tensor(ROUND)) for one in (digits.cpu(), batch.targets["class"].cpu()))
        found = torch.stack([said & true, said & ~true, ~said & true], dim=1)
        return {ROW_ERROR_RATE.name: edits.double(), LOOP_F1.name: found.double()}

    def decode(self, sequences: Sequences, batch: Batch) -> tuple[list[list[int]], Tensor]:
        """Return the shades that are read of every scan, and its digit."""
        rows, mask = sequences["rows"].logits.argmax(dim=-1), sequences["rows"].mask
        assert mask is not None
        return _runs(rows, mask), sequences["class"].logits[:, 0].argmax(dim=-1)

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the row error rate of the shade that is most frequent in training."""
        labels, known = train.take_targets(slice(None))[0]["rows"], validation.take_targets(slice(None))
        common = int(labels[labels != UNKNOWN].mode().values)
        truth = _runs(known[0]["rows"], known[1]["rows"])
        return error_rate(np.array([[edit_distance([common], one), len(one)] for one in truth], dtype=np.float64))


def _runs(labels: Tensor, mask: Tensor) -> list[list[int]]:
    return [[shade for shade, _ in groupby(row[real].tolist())] for row, real in zip(labels, mask, strict=True)]


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the least insertions, deletions and substitutions that make `a` of `b` (Levenshtein, 1966)."""
    costs = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        diagonal, costs[0] = costs[0], i
        for j, other in enumerate(b, start=1):
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, diagonal + (one != other))
    return costs[-1]


class Reader(nn.Module):
    """Convolutions over the rows, and the task's heads."""

    def __init__(self, signature: Signature, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.depth, fan_in = depth, signature.inputs[0].typical_shape[-1]
        for number in range(1, depth + 1):
            self.add_module(f"stage{number}", Rows(fan_in, width))
            fan_in = width
        self.head = heads(width, signature)

    def forward(self, frames: Tensor, mask: Tensor) -> Any:
        """Return the logits of both label sequences."""
        features = frames
        for number in range(1, self.depth + 1):
            features = self.get_submodule(f"stage{number}")(features, mask)
        return self.head(features, mask)


class Rows(nn.Module):
    """A convolution of three rows and ReLU; what stands behind a scan's end is taken as 0."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(fan_in, fan_out, 3, padding=1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return `[batch, rows, fan_out]`."""
        known = torch.where(mask.unsqueeze(-1), features, 0)
        found: Tensor = self.convolution(known.transpose(1, 2)).transpose(1, 2)
        return found.relu()
