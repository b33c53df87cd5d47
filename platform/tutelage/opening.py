"""The test split, opened for a chosen student and those it is set against; every opening is on record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage import answers, intervals
from tutelage.classroom import Classroom
from tutelage.store import SweepDir


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network that is tested: what names it on record (a trial, a teacher's address), and the network."""

    name: str
    model: nn.Module


def test(home: SweepDir, classroom: Classroom, subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """Return the test scores of `subjects["student"]` and the others, and its paired gain over each of these.

    The opening is put on record, unless the very same networks have been tested before: then the scores on record are
    returned. `openings` says how often the split has been opened, `students` for how many different students.
    """
    names = {role: subject.name for role, subject in subjects.items()}
    openings = list(home.facts().get("test_openings", []))
    earlier = next((one for one in openings if one.get("subjects") == names), None)
    if earlier is None:
        scores = _scores(classroom, {role: subject.model for role, subject in subjects.items()})
        openings.append({"by": "select", "subjects": names, "scores": scores, "unix_time_s": time.time()})
        home.update(test_openings=openings)
    else:
        scores = earlier["scores"]
    return {**scores, **looks(home)}


def looks(home: SweepDir) -> dict[str, int]:
    """Return how often a sweep's test split has been opened, and for how many different students."""
    openings = home.facts().get("test_openings", [])
    return {"openings": len(openings), "students": len({one["subjects"]["student"] for one in openings})}


def record_look(home: SweepDir, trial: str, by: str) -> None:
    """Put on record that a trial's student was measured on the test split outside of a selection."""
    opening = {"by": by, "subjects": {"student": trial}, "unix_time_s": time.time()}
    home.update(test_openings=[*home.facts().get("test_openings", []), opening])


def _scores(classroom: Classroom, models: Mapping[str, nn.Module]) -> dict[str, Any]:
    test_split, task = classroom.read("test"), classroom.built_task
    correct = {
        role: task.correct(answers.logits_of(model, task, test_split), test_split.labels).flatten()
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
