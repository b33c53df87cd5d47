"""Selection policies: how much a student of a front is wanted. One file a policy.

A policy scores, it never chooses: ties, limits, noise and the test split are not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.objectives import Objective, even_losses
from tutelage.records.trial import TrialRecord

Scores = NDArray[np.float64]


Front = Sequence[TrialRecord]


NEVER = -np.inf  # the score of a student that the policy does not take at all


@dataclass(frozen=True, kw_only=True)
class SelectionContext:
    """What a policy may know beside the front: the sweep's objectives and the teacher's measures.

    The accuracies of the front's students are those that the choice rests on; `said_of_accuracy` says in words which.
    """

    objectives: tuple[Objective, ...]
    teacher: Mapping[str, float]
    said_of_accuracy: str = "accuracy"


def size_bytes(record: TrialRecord) -> float:
    """Return a student's bytes, or its parameters where bytes are not on record."""
    return record.measures.get("size_bytes", record.measures.get("params", 0.0))


def scaled_losses(front: Front, objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Return losses (num_students, num_objectives) from 0, the best on the front, to 1, the worst; sizes on a log scale.

    An objective in which all are equal is 0 throughout.
    """
    matrix = np.array([even_losses(record.measures, objectives) for record in front])
    span = np.ptp(matrix, axis=0)
    scaled: NDArray[np.float64] = (matrix - matrix.min(axis=0)) / np.where(span > 0, span, 1.0)
    return scaled
