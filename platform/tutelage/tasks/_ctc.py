"""Connectionist temporal classification (Graves, Fernández, Gomez and Schmidhuber, 2006): strings from unaligned steps.

Every step has one of the characters, or the blank. A path of steps means the string that is left when runs of one class are
read as one, and blanks are dropped. The blank is class 0; the characters follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.masks import masked_mean
from tutelage.tasks import LabelSequence

BLANK = 0


def ctc_loss(sequence: LabelSequence, text: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return -ln of the probability of each string `[batch]`, summed over all of its paths, over its number of steps.

    `text` are character indices from 0, int64 `[batch, characters]`; what is negative is padding. The division gives the loss
    of an untrained network about the size of a cross-entropy, whatever the length. `smoothing` is the share of the mean
    cross-entropy with equal probabilities. A string without characters is unlabelled: its loss is 0, without a gradient. A
    string that needs more steps than there are has an infinite loss. Values at masked steps change neither loss nor gradient.
    """
    real, lengths = sequence.real, (text >= 0).sum(dim=1)
    is_labelled = lengths > 0
    counted = real & is_labelled.unsqueeze(1)
    logs = sequence.logits.where(counted.unsqueeze(-1), 0.0).log_softmax(dim=-1)  # before the loss, because 0 times NaN is NaN
    steps = real.sum(dim=1)
    losses = functional.ctc_loss(
        logs.transpose(0, 1), text.clamp(min=0) + 1, steps, lengths, blank=BLANK, reduction="none"
    ) / steps.clamp(min=1)  # fmt: skip
    if smoothing:
        losses = (1 - smoothing) * losses + smoothing * masked_mean(-logs.mean(dim=-1), real)
    return torch.where(is_labelled, losses, 0.0)


def best_path(sequence: LabelSequence) -> list[list[int]]:
    """Return the characters of the path with the largest logit at each real step; of equal logits the first class counts."""
    paths = sequence.unpadded(sequence.logits.argmax(dim=-1))
    return [[one - 1 for one, _ in groupby(path) if one != BLANK] for path in paths]


def strings_of(text: Tensor) -> list[list[int]]:
    """Return the character indices of padded strings `[batch, characters]`, without padding."""
    return [row[row >= 0].tolist() for row in text.cpu()]


def edit_distance(own: Sequence[int], other: Sequence[int]) -> int:
    """Return the least number of insertions, deletions and replacements that make `other` of `own`."""
    costs = list(range(len(other) + 1))
    for row, one in enumerate(own, start=1):
        diagonal, costs[0] = costs[0], row
        for column, another in enumerate(other, start=1):
            diagonal, costs[column] = costs[column], min(
                costs[column] + 1, costs[column - 1] + 1, diagonal + (one != another)
            )  # fmt: skip
    return costs[-1]
