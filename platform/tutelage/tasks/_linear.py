"""A ridge classifier in closed form: the baseline that a teacher must exceed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.data import Examples
from tutelage.masks import masked_mean

MAX_ROWS, MAX_SIDE_PX, RIDGE = 10_000, 32, 0.1


def linear_logits(train: Examples, validation: Examples, rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the scores `[n, classes]` of a ridge classifier for the validation examples (Hoerl and Kennard, 1970).

    It fits the one-hot `labels` of the training `rows` by least squares, using at most 10,000 evenly spaced rows. The penalty
    is a tenth of the mean variance of a feature. Features are the numbers of all dense inputs, with images larger than 32×32
    pixels averaged to that size, and the means of ragged inputs over their steps.
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
            seen = masked_mean(seen, batch.masks[name])
        found.append(seen.float().flatten(1) if seen.ndim > 1 else seen.float().unsqueeze(1))
    return torch.cat(found, dim=1)
