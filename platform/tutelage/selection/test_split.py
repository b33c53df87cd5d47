"""The evaluation on the test split, of a selected student and the networks beside it; every evaluation is recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tutelage import intervals
from tutelage.intervals import Contributions
from tutelage.measure import Measure
from tutelage.records.sweep_dir import SweepDir, test_evaluations
from tutelage.training import inference
from tutelage.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network that is tested, and its recorded name (a trial, a teacher's address); `size_bytes` is a champion's."""

    name: str
    model: nn.Module
    size_bytes: float = 0.0


def test(home: SweepDir, context: TrainingContext, subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """Return the test scores of `subjects["student"]` and the others, and its paired gain over each of these.

    A gain is positive where the student is better. The evaluation is recorded. If the same networks were tested before, the
    recorded scores are returned. `evaluations` is the number of evaluations of the split, `students` that of students.
    """
    names = {role: subject.name for role, subject in subjects.items()}
    evaluations = home.facts().get("test_evaluations", [])
    earlier = next((one for one in evaluations if one.get("subjects") == names), None)
    if earlier is None:
        scores = _scores(context, {role: subject.model for role, subject in subjects.items()})
        home.update(test_evaluations={"by": "select", "subjects": names, "scores": scores, "unix_time_s": time.time()})
    else:
        scores = earlier["scores"]
    return {**scores, **test_evaluations(home)}


def _scores(context: TrainingContext, models: Mapping[str, nn.Module]) -> dict[str, Any]:
    test_split, task, seed = context.read("test"), context.built_task, context.seed
    found = {role: inference.contributions_of(model, task, test_split, context.measures) for role, model in models.items()}
    primary, every = task.measures[0], (*task.measures, *context.measures)
    scores: dict[str, Any] = {"label_only": None, "gain_over_label_only": None}
    scores |= {role: score(every, own, seed) for role, own in found.items()}
    for other in found.keys() - {"student"}:
        gain = intervals.paired_gain(primary, found["student"][primary.name], found[other][primary.name], seed)
        scores[f"gain_over_{other}"] = dict(zip(("difference", "low", "high"), gain, strict=True))
    return {**scores.pop("student"), **scores}


def score(measures: Sequence[Measure], contributions: Mapping[str, Contributions], seed: int) -> dict[str, Any]:
    """Return the `value` and `interval` of the primary measure, the first, over `n` examples, and those of every measure."""
    every = {
        measure.name: {
            "value": measure.aggregate(contributions[measure.name]),
            "interval": list(intervals.interval(measure, contributions[measure.name], seed) or ()) or None,
        }
        for measure in measures
        if measure.name in contributions
    }
    primary = measures[0].name
    return {**every[primary], "n": len(contributions[primary]), "measures": every}
