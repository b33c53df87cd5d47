"""Selection policies, one file each: they give every student of a front a score.

A policy scores, it never chooses: ties, limits, noise and the test split are not its business. A score that compares students
with each other counts those that are equal in all objectives once (`distinct_losses`), so that equals never lower each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tutelage.measure import Measure
from tutelage.objectives import Objective, even_losses, losses
from tutelage.records.trial import TrialRecord

Scores = NDArray[np.float64]
Front = Sequence[TrialRecord]
NEVER = -np.inf  # the score of a student that the policy does not take at all


@dataclass(frozen=True, kw_only=True)
class SelectionContext:
    """What a policy may use beside the front: the sweep's objectives, its task's primary measure, the teacher's measures.

    `estimates` has, by trial, the value of the primary measure that the choice rests on, and `quality` names it in words. A
    student without an estimate has the value that the search measured, which stays in its record in any case.
    """

    objectives: tuple[Objective, ...]
    primary: Measure
    teacher: Mapping[str, float]
    quality: str
    estimates: Mapping[str, float] = field(default_factory=dict)

    def values(self, record: TrialRecord) -> Mapping[str, float]:
        """Return a student's measures, the primary one as estimated: what policies and limits compare."""
        estimate = self.estimates.get(record.trial_id)
        return record.measures if estimate is None else {**record.measures, self.primary.name: estimate}

    def quality_of(self, record: TrialRecord) -> float:
        """Return a student's primary measure as estimated, in its own unit."""
        return self.values(record)[self.primary.name]

    def quality_scores(self, front: Front) -> Scores:
        """Return the primary measure of each student, turned so that higher is better."""
        return np.array([-self.primary.sign * self.quality_of(record) for record in front])

    def quality_text(self, record: TrialRecord) -> str:
        """Return a student's primary measure with its name, in words."""
        return f"{self.quality} {self.primary.text_with_unit(self.quality_of(record))}"


def size_bytes(record: TrialRecord) -> float:
    """Return a student's bytes, or its parameters where bytes are not on record."""
    return record.measures.get("size_bytes", record.measures.get("params", 0.0))


def losses_of(front: Front, context: SelectionContext) -> NDArray[np.float64]:
    """Return the losses (num_students, num_objectives) of a front; the primary measure is that of `context.values`."""
    return losses([context.values(record) for record in front], context.objectives)


def distinct_losses(front: Front, context: SelectionContext) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distinct losses (num_distinct, num_objectives) of a front, and the row of each student in them."""
    matrix, rows = np.unique(losses_of(front, context), axis=0, return_inverse=True)
    return matrix, rows.reshape(-1)


def scaled_losses(front: Front, context: SelectionContext) -> NDArray[np.float64]:
    """Return losses (num_students, num_objectives) from 0, the best on the front, to 1, the worst; sizes on a log scale.

    An objective in which all are equal is 0 throughout.
    """
    return scaled(np.array([even_losses(context.values(record), context.objectives) for record in front]))


def scaled(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix with every column from 0, its least value, to 1, its largest; 0 where all are equal."""
    span = np.ptp(matrix, axis=0)
    found: NDArray[np.float64] = (matrix - matrix.min(axis=0)) / np.where(span > 0, span, 1.0)
    return found
