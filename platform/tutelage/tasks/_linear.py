"""A ridge classifier on an example's numbers, in closed form: the least that a teacher must beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.data import Examples

MAX_ROWS, MAX_SIDE_PX, RIDGE = 10_000, 32, 0.1


def linear_logits(train: Examples, validation: Examples, rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the scores `[n, classes]` of a ridge classifier on validation (Hoerl and Kennard, 1970).

    It learns the one-hot `labels` of the training `rows`, of 10,000 evenly spread ones if there are more, by least squares;
    the penalty is a tenth of the mean variance of a feature. Features are the numbers of all dense inputs, images above
    32×32 pixels averaged down to that, and the means over the steps of ragged ones.
    """
    if len(rows) > MAX_ROWS:
        chosen = torch.linspace(0, len(rows) - 1, MAX_ROWS).round().long()
        rows, labels = rows[chosen], labels[chosen]
    seen = _features(train, rows)
    targets = functional.one_hot(labels, num_classes).to(seen.dtype)
    centre, level = seen.mean(0), targets.mean(0)
    centred = seen - centre
    gram = centred.T @ centred
    gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-6)
    weights = torch.linalg.solve(gram, centred.T @ (targets - level))
    scores: Tensor = (_features(validation, slice(None)) - centre) @ weights + level
    return scores


def _features(examples: Examples, rows: Tensor | slice) -> Tensor:
    batch = examples.take(rows)
    found = []
    for name, seen in batch.inputs.items():
        if seen.ndim == 4 and max(seen.shape[-2:]) > MAX_SIDE_PX:
            seen = functional.adaptive_avg_pool2d(seen, MAX_SIDE_PX)
        if name in batch.masks:
            mask = batch.masks[name].view(*batch.masks[name].shape, *[1] * (seen.ndim - 2))
            seen = torch.where(mask, seen, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        found.append(seen.float().flatten(1) if seen.ndim > 1 else seen.float().unsqueeze(1))
    return torch.cat(found, dim=1)
