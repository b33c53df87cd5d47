"""The expected calibration error: the distance between confidence and the share of right classes (Guo et al., 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tutelage.measure import Array, Measure

if TYPE_CHECKING:  # commands read all measures, and most of them need no torch
    from torch import Tensor

NUM_BINS = 15
COLUMNS = NUM_BINS + 1  # of a label sequence: each bin's gap, and the number of steps


def expected_error(contributions: Array) -> float:
    """Return the mean error of the label sequences, from contributions `[n, 16 * sequences]`; NaN without any step."""
    totals = contributions.sum(axis=0).reshape(-1, COLUMNS)
    gaps, steps = abs(totals[:, :NUM_BINS]).sum(axis=1), totals[:, NUM_BINS]
    return float((gaps[steps > 0] / steps[steps > 0]).mean()) if (steps > 0).any() else float("nan")


def gaps_of(sequences: Any, batch: Any) -> Tensor | None:
    """Return each example's sums of `correct - confidence` by bin, and its number of labelled steps, `[batch, 16 * sequences]`.

    Confidence is the largest probability at temperature 1; bin m of 15 holds ((m - 1) / 15, m / 15]. None for a task whose
    targets hold no class for every step of a label sequence.
    """
    import torch

    found = [_gaps(one, batch.labels(name)) for name, one in sequences.items() if _has_labels(name, one, batch)]
    return torch.cat(found, dim=1) if found else None


def _has_labels(name: str, sequence: Any, batch: Any) -> bool:
    """Return whether the target `name` has a class for each step, and does not only happen to be as long."""
    labels, mask, target_mask = batch.labels(name), sequence.mask, batch.masks.get(name)
    if labels is None or labels.is_floating_point() or labels.shape != sequence.logits.shape[:2]:
        return False
    return target_mask is None or (mask is not None and mask.cpu().equal(target_mask.cpu()))


def _gaps(sequence: Any, labels: Tensor) -> Tensor:
    import torch

    labels = labels.to(sequence.logits.device)
    counted = (labels >= 0) & sequence.real
    confidence, best = sequence.logits.where(counted.unsqueeze(-1), 0.0).double().softmax(dim=-1).max(dim=-1)
    confidence = confidence.nan_to_num(0.0)
    bins = (confidence * NUM_BINS).ceil().long().clamp(1, NUM_BINS) - 1
    gaps = ((best == labels).double() - confidence).where(counted, 0.0)
    by_bin = gaps.new_zeros(len(labels), NUM_BINS).scatter_add_(1, bins, gaps)
    return torch.cat([by_bin, counted.sum(dim=1, keepdim=True).double()], dim=1)


MEASURE = Measure(
    name="calibration_error",
    label="expected calibration error",
    unit="share",
    direction="minimise",
    meaning="mean distance between confidence and the share of right classes, over 15 bins of confidence (Guo et al., 2017)",
    low=0.0,
    high=1.0,
    spread="corpus",
    aggregate=expected_error,
    of_outputs=gaps_of,
)
