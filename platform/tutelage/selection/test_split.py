"""The test split, opened for a chosen student and those it is set against; every opening is on record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage import intervals
from tutelage.records.sweep_dir import SweepDir, test_evaluations
from tutelage.training import inference
from tutelage.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network that is tested: what names it on record (a trial, a teacher's address), and the network."""

    name: str
    model: nn.Module


def test(home: SweepDir, context: TrainingContext, subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """Return the test scores of `subjects["student"]` and the others, and its paired gain over each of these.

    The opening is put on record, unless the very same networks have been tested before: then the scores on record are
    returned. `openings` says how often the split has been opened, `students` for how many different students.
    """
    names = {role: subject.name for role, subject in subjects.items()}
    openings = list(home.facts().get("test_evaluations", []))
    earlier = next((one for one in openings if one.get("subjects") == names), None)
    if earlier is None:
        scores = _scores(context, {role: subject.model for role, subject in subjects.items()})
        openings.append({"by": "select", "subjects": names, "scores": scores, "unix_time_s": time.time()})
        home.update(test_evaluations=openings)
    else:
        scores = earlier["scores"]
    return {**scores, **test_evaluations(home)}


def _scores(context: TrainingContext, models: Mapping[str, nn.Module]) -> dict[str, Any]:
    test_split, task = context.read("test"), context.built_task
    correct = {
        role: torch.from_numpy(inference.contributions_of(model, task, test_split)[task.measures[0].name][:, 0] > 0.5)
        for role, model in models.items()
    }
    scores: dict[str, Any] = {"labels_only": None, "gain_over_labels_only": None}
    scores |= {role: _score(rights) for role, rights in correct.items()}
    for other in correct.keys() - {"student"}:
        difference = intervals.paired_difference(correct["student"].numpy(), correct[other].numpy())
        scores[f"gain_over_{other}"] = dict(zip(("difference", "low", "high"), difference, strict=True))
    return {**scores.pop("student"), **scores}


def _score(correct: torch.Tensor) -> dict[str, Any]:
    right, examples = int(correct.sum()), correct.numel()
    return {"accuracy": right / examples, "interval": list(intervals.wilson_interval(right, examples)), "n": examples}
