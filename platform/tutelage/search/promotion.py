"""Which paused student goes on: the one that is expected to improve the front most. Pure arrays.

Every student pauses at every rung. Of the finished ones is learnt, for each rung, how a student ends: a Gaussian process over
its sizes, its errors so far and its traits, the searched values as numbers, for students of another learning rate or with
channels still to lose are not alike at a rung. The paused student whose end is expected to be furthest below the best error of
any finished student no larger in anything (expected improvement; Jones et al., 1998) goes on to its next rung, as long as no
more than a share of all epochs is spent. As nothing is given up before the end, what was paused in vain can still come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tutelage.search.regression import Array, Regression, best_no_larger, expected_improvement

FEWEST_PAUSED = 10  # to choose from, before a new student would be the better choice
LEAST_GAIN = 1e-4  # of log10 of an error; what is expected to gain less is not worth an epoch


@dataclass(kw_only=True)
class Student:
    """What is known of a student: losses known before training, as logarithms, in the end and while it is whole; traits, a
    vector; and log10 of its error at each rung it came to. All lower is better, but for the traits."""

    known: Array
    whole: Array
    traits: Array
    errors: dict[int, float] = field(default_factory=dict)
    end: float | None = None
    epochs: int = 0
    is_paused: bool = False


class Promotion:
    """Decides who pauses and who goes on, for students that are told of under keys, in the order in which they come.

    `share` is of the epochs that `num_students` (those begun so far, while that is None) would take in full. The first
    `startup` students, by default a fifth of what may be spent, but between 5 and 20, are never paused: of them is learnt.
    """

    def __init__(
        self,
        *,
        rungs: Sequence[int],
        max_epochs: int,
        share: float,
        num_students: int | None = None,
        startup: int | None = None,
    ) -> None:
        self.rungs, self.max_epochs, self.share, self.num_students = sorted(rungs), max_epochs, share, num_students
        self.startup = startup or (12 if num_students is None else min(20, max(5, round(share * num_students / 5))))
        self.students: dict[int, Student] = {}
        self._first: set[int] = set()
        self._finished: list[int] = []
        self._scores: dict[int, float] = {}
        self._models: dict[int, Regression] = {rung: Regression() for rung in self.rungs}
        self._outdated = set(self.rungs)

    def pauses(self, key: int, rung: int, student: Student, error: float) -> bool:
        """Return whether a student, told of with log10 of its error at a rung, pauses there."""
        known = self.students.setdefault(key, student)
        if rung < known.epochs:  # it was promoted beyond, and had to begin again
            return False
        known.errors[rung], known.epochs = error, rung
        self._scores.pop(key, None)
        if len(self._first) < self.startup:
            self._first.add(key)
        known.is_paused = key not in self._first
        return known.is_paused

    def finished(self, key: int, student: Student, end: float) -> None:
        """Learn from a student that had all its epochs, with log10 of its error in the end."""
        known = self.students.setdefault(key, student)
        known.end, known.epochs, known.is_paused = end, self.max_epochs, False
        self._finished.append(key)
        self._scores.clear()
        self._outdated = set(self.rungs)

    def given_up(self, key: int) -> None:
        """Forget a student that failed or was lost: it is neither paused nor learnt from."""
        self.students.pop(key, None)
        self._scores.pop(key, None)

    def promoted(self, *, is_last: bool) -> int | None:
        """Return the paused student that goes on now; None if a new one is the better choice, or nobody is worth it.

        `is_last` says that there are no new ones any more.
        """
        paused = [key for key, student in self.students.items() if student.is_paused]
        if not paused or len(self._finished) < min(self.startup, 5) or not self._may_spend(is_last):
            return None
        if not is_last and len(paused) < FEWEST_PAUSED:
            return None
        scores = self._scored(paused)
        best = max(paused, key=lambda key: scores[key])
        if scores[best] < LEAST_GAIN:
            return None
        student = self.students[best]
        student.is_paused, student.epochs = False, self._next_rung(student.epochs)
        return best

    def _may_spend(self, is_last: bool) -> bool:
        begun = len(self.students)
        of = (self.num_students or begun) if is_last else begun
        return sum(student.epochs for student in self.students.values()) < self.share * of * self.max_epochs

    def _next_rung(self, epochs: int) -> int:
        return next((rung for rung in self.rungs if rung > epochs), self.max_epochs)

    def _scored(self, paused: Sequence[int]) -> dict[int, float]:
        """Return the expected improvement of every paused student; only those not known since the last end are computed."""
        for rung in self.rungs:
            there = [key for key in paused if self.students[key].epochs == rung and key not in self._scores]
            if there and self._has_learnt(rung):
                mean, deviation = self._models[rung].predict(self._features(there, rung))
                gains = expected_improvement(self._best_no_larger(there), mean, deviation)
                self._scores.update(zip(there, gains.tolist(), strict=True))
        return {key: self._scores.get(key, 0.0) for key in paused}

    def _has_learnt(self, rung: int) -> bool:
        """Return whether the ends of students that came to a rung are known, after learning those that are new."""
        if rung in self._outdated:
            learnt = [key for key in self._finished if rung in self.students[key].errors]
            if len(learnt) < 2:
                return False
            ends = np.array([self.students[key].end for key in learnt])
            self._models[rung].learn(self._features(learnt, rung), ends)
            self._outdated.remove(rung)
        return True

    def _features(self, keys: Sequence[int], rung: int) -> Array:
        rungs = [one for one in self.rungs if one <= rung]
        students = [self.students[key] for key in keys]
        return np.array([[*s.known, *(s.whole - s.known), *(s.errors[one] for one in rungs), *s.traits] for s in students])

    def _best_no_larger(self, keys: Sequence[int]) -> Array:
        """Return for each student the best end of a finished one that is no larger in anything."""
        known = np.array([self.students[key].known for key in self._finished])
        ends = np.array([self.students[key].end for key in self._finished])
        return best_no_larger(np.array([self.students[key].known for key in keys]), known, ends)
