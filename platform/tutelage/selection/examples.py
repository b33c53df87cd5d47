"""The examples on which a selected student differs most from its teacher, for the sweep's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Batch, Examples
from tutelage.networks.capture import sequences_from
from tutelage.tasks import FocusesSteps, LabelSequence, Sequences, ShowsExamples, Task
from tutelage.training import inference

COUNT = 12
COMPARED = 2_000  # examples at most; a report needs no more, and the teacher may be slow


def most_different(task: Task, validation: Examples, teacher: nn.Module, student: nn.Module) -> dict[str, Any] | None:
    """Return a document for the report: a dozen validation examples as HTML, the most different first.

    They have the largest KL(teacher ‖ student) among the first 2,000, whose steps count as much as the task's `focus` says; of
    ties, the earlier ones. If the networks have other steps, they are those on which the student's label loss exceeds the
    teacher's most, and `by` is "loss" instead of "kl". The test split is not shown, so that it stays unseen until a final
    evaluation. None if the task does not show examples.
    """
    if not isinstance(task, ShowsExamples):
        return None
    compared = validation.head(COMPARED)
    networks = {"teacher": teacher, "student": student}
    by, distances = _distances(networks, task, compared)
    rows = distances.argsort(descending=True, stable=True)[:COUNT].tolist()
    shown = [
        {"row": row, "nats": float(distances[row]), "html": _shown(task, compared.subset(slice(row, row + 1)), networks)}
        for row in rows
    ]
    return {"split": "validation", "compared": len(compared), "by": by, "examples": shown}


def _distances(networks: Mapping[str, nn.Module], task: Task, examples: Examples) -> tuple[str, Tensor]:
    """Return "kl" and KL(teacher ‖ student) of every example in nats `[n]`, or "loss" and the differences of label losses."""
    by, rows, found = "kl", torch.arange(len(examples)), torch.zeros(len(examples), dtype=torch.float64)
    each = (inference.each(model, task, examples, rows) for model in (networks["student"], networks["teacher"]))
    for (some, batch, own), (_, _, other) in zip(*each, strict=True):
        by, found[some] = _distance(task, batch, sequences_from(own), sequences_from(other))
    return by, found.where(found.isfinite(), 0.0)  # of logits that are not; the document takes finite numbers alone


def _distance(task: Task, batch: Batch, student: Sequences, teacher: Sequences) -> tuple[str, Tensor]:
    focus = task.focus(teacher, batch) if isinstance(task, FocusesSteps) else None
    divergence = inference.agreement(student, teacher, focus).get("teacher_kl_nats")
    if divergence is None:  # networks of other strides
        return "loss", (task.loss(student, batch) - task.loss(teacher, batch)).double()
    return "kl", torch.as_tensor(divergence, dtype=torch.float64).squeeze(1)


def _shown(task: ShowsExamples, example: Examples, networks: Mapping[str, nn.Module]) -> str:
    return task.show(example, {role: _outputs(model, task, example) for role, model in networks.items()})


def _outputs(model: nn.Module, task: Task, example: Examples) -> Mapping[str, LabelSequence]:
    ((_, _, parts),) = inference.each(model, task, example, torch.arange(1))
    return sequences_from(parts)
