"""How often a selected student and its teacher take one class for another, for the sweep's report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn

from tutelage.data import UNKNOWN, Examples
from tutelage.networks.capture import sequences_from
from tutelage.tasks import DecodesLabels, Task
from tutelage.training import inference

COMPARED = 2_000  # examples at most; a report needs no more, and the teacher may be slow


def confusions(task: Task, validation: Examples, teacher: nn.Module, student: nn.Module) -> dict[str, Any] | None:
    """Return a document for the report: by label sequence its classes, and counts of (label, prediction) of both networks.

    Counts are lists of `[label, prediction, count]` over the labelled steps of the first 2,000 validation examples, the most
    frequent first. None for a task that decodes no labels.
    """
    if not isinstance(task, DecodesLabels):
        return None
    compared = validation.head(COMPARED)
    counts = {"teacher": _counts(task, compared, teacher), "student": _counts(task, compared, student)}
    names = {name: list(compared.targets[name].names) for name in counts["student"]}
    sequences = {
        name: {"classes": names[name], **{role: _listed(found[name]) for role, found in counts.items()}} for name in names
    }
    return {"split": "validation", "compared": len(compared), "sequences": sequences}


def _counts(task: DecodesLabels, examples: Examples, model: nn.Module) -> dict[str, Counter[tuple[int, int]]]:
    found: dict[str, Counter[tuple[int, int]]] = {}
    for _, batch, parts in inference.each(model, task, examples, torch.arange(len(examples))):
        sequences = sequences_from(parts)
        for name, predicted in task.decoded_labels(sequences, batch).items():
            labels = batch.labels(name)
            assert labels is not None
            counted = (labels != UNKNOWN) & sequences[name].real
            pairs = torch.stack([labels[counted], predicted.to(labels.device)[counted]], dim=1)
            found.setdefault(name, Counter()).update(map(tuple, pairs.tolist()))
    return found


def _listed(counts: Counter[tuple[int, int]]) -> list[list[int]]:
    return [[label, predicted, count] for (label, predicted), count in counts.most_common()]
