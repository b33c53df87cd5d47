"""The best sequence of IOB labels that is valid, alone or together with the class of the whole sequence.

A label inside of a slot follows one of the same slot.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tutelage.errors import InputError, first_names

_PENALTY = 1e6  # far above any logit, and finite: labels of which no sequence is valid have a best one too


def check_begins(names: tuple[str, ...], where: str) -> None:
    """Raise `InputError` for labels `I-x` or `E-x` without `B-x`: no sequence that is valid has them."""
    alone = [name for name in names if name[:2] in ("I-", "E-") and f"B-{name[2:]}" not in names]
    if alone:
        raise InputError(
            f"{where} gives I- and E- only behind B- of the same type, and training has {first_names(alone)} without B-. "
            "Write B- at the first token of each slot, or set decode: largest."
        )


def best_valid(logits: Tensor, mask: Tensor | None, names: tuple[str, ...]) -> Tensor:
    """Return the valid sequence of labels with the largest sum of logits, int64 `[batch, steps]` (Viterbi, 1967).

    `logits` are `[batch, steps, classes]`. `I-` and `E-` are valid after `B-` and `I-` of the same type only. Of equal sums
    the first label counts. If no sequence is valid, one with the fewest invalid labels is returned. Steps where `mask` is
    False, behind the real ones, have the last real step's label.
    """
    scores = logits.double() if mask is None else logits.double().where(mask.unsqueeze(-1), 0.0)
    first, later = (table.to(logits.device) for table in _penalties(names))
    total, origins = scores[:, 0] - first, []
    for step in range(1, logits.shape[1]):
        best, origin = (total.unsqueeze(2) - later).max(dim=1)  # [batch, label before, label] → [batch, label]
        best = best + scores[:, step]
        if mask is not None:
            is_real = mask[:, step].unsqueeze(1)
            best, origin = best.where(is_real, total), origin.where(is_real, torch.arange(len(names), device=logits.device))
        total = best
        origins.append(origin)
    found = [total.argmax(dim=1)]
    for origin in reversed(origins):
        found.append(origin.gather(1, found[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(found[::-1], dim=1)


def best_joint(
    logits: Tensor, intents: Tensor, mask: Tensor | None, names: tuple[str, ...], seen_with: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the valid sequence of labels `[batch, steps]` and the intent `[batch]` of the largest probability together.

    `intents` are logits `[batch, intents]`; `seen_with`, booleans `[intents, classes]`, has the labels of each intent: its
    sequences have no others. The log-probability is the sum of those of the intent and of the labels at real steps.
    """
    real = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device) if mask is None else mask
    logs = logits.double().where(real.unsqueeze(-1), 0.0).log_softmax(dim=-1)
    found, totals = [], []
    for number, log_intent in enumerate(intents.double().log_softmax(dim=-1).unbind(dim=1)):
        allowed = logs.masked_fill(~seen_with[number], -_PENALTY)
        labels = best_valid(allowed, real, names)
        of_labels = allowed.gather(2, labels.unsqueeze(2)).squeeze(2)
        found.append(labels)
        totals.append(of_labels.where(real, 0.0).sum(dim=1) + log_intent)
    best = torch.stack(totals, dim=1).argmax(dim=1)
    return torch.stack(found, dim=1)[torch.arange(len(best), device=best.device), best], best


@cache
def _penalties(names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return the penalties of the first label `[classes]`, and of a label after another `[before, classes]`, float64."""
    parts = [name.partition("-") for name in names]
    is_inside = torch.tensor([prefix in ("I", "E") for prefix, _, _ in parts])
    continues = torch.tensor([[b in ("B", "I") and kind == other for _, _, other in parts] for b, _, kind in parts])
    return is_inside.double() * _PENALTY, (is_inside & ~continues).double() * _PENALTY
