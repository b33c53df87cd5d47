"""Which paused student is promoted: the one that is expected to improve the front most. Pure arrays.

Every student pauses at every rung. For each rung, a Gaussian process is fitted to the finished students. It predicts a
student's final error from its sizes, its errors so far and its traits, which are the searched values as numbers: students with
different learning rates, or with channels still to be removed, are not comparable at a rung by their errors alone. The paused
student with the largest expected improvement over the finished students that are no larger in any size (Jones et al., 1998)
continues to its next rung, as long as at most a share of all epochs is used. A paused student can be promoted until the end of
the search.

Observed ends are noisy, so the incumbent of a size is the model's prediction from sizes and traits, not the best observation
(Picheny et al., 2013), made worse by `NEAR` of the ends' standard deviation, so that an equally good student may be promoted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tutelage.search.expected_improvement import best_no_larger, expected_improvement
from tutelage.search.gaussian_process import Array, Regression

FEWEST_PAUSED = 10  # paused students before one is promoted instead of a new student


LEAST_GAIN = 1e-4  # of log10 of an error; a student whose expected improvement is less is not promoted


NEAR = 0.1  # of the standard deviation of ends


GROWN = 0.01  # growth of the number of finished students, as a share, after which the models are fitted again


RESCORED = 1000  # paused students, the best so far, that are scored again then


@dataclass(kw_only=True)
class Student:
    """A student: its losses known before training, as logarithms, at the end (`known`) and before anything is removed
    (`whole`); its traits; and the even loss of its primary measure at each rung that it reached. Lower is better except in the
    traits."""

    known: Array
    whole: Array
    traits: Array
    errors: dict[int, float] = field(default_factory=dict)
    end: float | None = None
    epochs: int = 0
    is_paused: bool = False


class Promotion:
    """Decides which students pause and which continue. A student is named by a key, and reaches its rungs in order.

    `share` is of the epochs that `num_students` would take in full (None: the students started so far). The first
    `startup` students, by default a fifth of that share, but between 5 and 20, are never paused.
    If no finished student is as small, an end below `worst` improves the front. A student whose expected improvement is less
    than `least_gain` is not promoted.
    """

    def __init__(
        self,
        *,
        rungs: Sequence[int],
        max_epochs: int,
        share: float,
        num_students: int | None = None,
        startup: int | None = None,
        worst: float = 0.0,
        least_gain: float = LEAST_GAIN,
    ) -> None:
        self.rungs, self.max_epochs, self.share, self.num_students = sorted(rungs), max_epochs, share, num_students
        self.worst, self.least_gain = worst, least_gain
        self.startup = startup or (12 if num_students is None else min(20, max(5, round(share * num_students / 5))))
        self.students: dict[int, Student] = {}
        self._first: set[int] = set()
        self._finished: list[int] = []
        self._num_paused = self._epochs = 0
        self._unscored: list[int] = []
        self._waiting: list[tuple[float, int, int]] = []  # a heap of the paused: gain, negative; key; epochs
        self._models: dict[int, Regression] = {}
        self._ends, self._num_learnt = Regression(), 0

    def pauses(self, key: int, rung: int, student: Student, error: float) -> bool:
        """Return whether a student, with the even loss `error` at a rung, pauses there."""
        known = self.students.setdefault(key, student)
        if rung < known.epochs:  # it was promoted beyond this rung, and restarted after a failure
            return False
        known.errors[rung] = error
        if len(self._first) < self.startup:
            self._first.add(key)
        self._moves(known, rung, is_paused=key not in self._first)
        return known.is_paused

    def paused(self, key: int) -> None:
        """Record that a pausing student has left its worker and its state is saved; it can be promoted from now on."""
        if key in self.students:
            self._unscored.append(key)

    def finished(self, key: int, student: Student, end: float) -> None:
        """Add a student that had all its epochs, with the even loss of its primary measure at the end."""
        known = self.students.setdefault(key, student)
        known.end = end
        self._moves(known, self.max_epochs, is_paused=False)
        self._finished.append(key)

    def restored(self, key: int, *, is_paused: bool) -> None:
        """Set a student of a resumed search to paused at its last rung, or to running from there, as the ledger has it.

        `pauses` may decide otherwise for it now, because the students that are never paused are the first to reach a rung.
        """
        student = self.students.get(key)
        if student is None or student.is_paused == is_paused:
            return
        self._moves(student, student.epochs if is_paused else self._next_rung(student.epochs), is_paused=is_paused)
        if is_paused:
            self._first.discard(key)

    def discarded(self, key: int) -> None:
        """Remove a student that failed or was lost; it is neither promoted nor used by the models."""
        student = self.students.pop(key, None)
        if student is not None:
            self._moves(student, 0, is_paused=False)

    def promoted(self, *, is_last: bool) -> int | None:
        """Return the key of the paused student to promote now; None if a new student, or none, is the better choice.

        `is_last`: there will be no new students.
        """
        fewest = 1 if is_last else FEWEST_PAUSED
        if self._num_paused < fewest or len(self._finished) < min(self.startup, 5) or not self._may_spend(is_last):
            return None
        self._learn()
        self._score()
        while self._waiting and not self._is_waiting(self._waiting[0]):
            heapq.heappop(self._waiting)
        if not self._waiting or -self._waiting[0][0] < self.least_gain:
            return None
        best = heapq.heappop(self._waiting)[1]
        student = self.students[best]
        self._moves(student, self._next_rung(student.epochs), is_paused=False)
        return best

    def _moves(self, student: Student, epochs: int, *, is_paused: bool) -> None:
        """Set a student's epochs and whether it is paused, and update the sums over all students."""
        self._num_paused += is_paused - student.is_paused
        self._epochs += epochs - student.epochs
        student.epochs, student.is_paused = epochs, is_paused

    def _may_spend(self, is_last: bool) -> bool:
        begun = len(self.students)
        of = (self.num_students or begun) if is_last else begun
        return self._epochs < self.share * of * self.max_epochs

    def _next_rung(self, epochs: int) -> int:
        return next((rung for rung in self.rungs if rung > epochs), self.max_epochs)

    def _is_waiting(self, entry: tuple[float, int, int]) -> bool:
        student = self.students.get(entry[1])
        return student is not None and student.is_paused and student.epochs == entry[2]

    def _learn(self) -> None:
        """Fit the models again if enough students have finished since; the best paused students are scored again."""
        if len(self._finished) <= self._num_learnt * (1 + GROWN):
            return
        self._num_learnt = len(self._finished)
        known = self._matrix(self._finished, lambda student: student.known)
        ends = np.array([self.students[key].end for key in self._finished])
        features = self._matrix(self._finished, _body)
        self._ends.learn(features, ends)
        self._known, self._expected = known, self._ends.predict(features)[0] + NEAR * ends.std()
        for rung in self.rungs:
            learnt = [key for key in self._finished if rung in self.students[key].errors]
            if len(learnt) >= 2:
                model = self._models.setdefault(rung, Regression())
                model.learn(self._features(learnt, rung), np.array([self.students[key].end for key in learnt]))
        waiting = [entry for entry in sorted(self._waiting) if self._is_waiting(entry)]
        self._unscored += [key for _, key, _ in waiting[:RESCORED]]
        self._waiting = waiting[RESCORED:]

    def _score(self) -> None:
        """Score the paused students by expected improvement; those at a rung without a model stay unscored."""
        left = [key for key in self._unscored if key in self.students and self.students[key].is_paused]
        self._unscored = [key for key in left if self.students[key].epochs not in self._models]
        for rung, model in self._models.items():
            there = [key for key in left if self.students[key].epochs == rung]
            if there:
                sizes = self._matrix(there, lambda student: student.known)
                best = best_no_larger(sizes, self._known, self._expected, self.worst)
                gains = expected_improvement(best, *model.predict(self._features(there, rung)))
                for key, gain in zip(there, gains.tolist(), strict=True):
                    heapq.heappush(self._waiting, (-gain, key, rung))

    def _features(self, keys: Sequence[int], rung: int) -> Array:
        rungs = [one for one in self.rungs if one <= rung]
        return self._matrix(keys, lambda student: [*_body(student), *(student.errors[one] for one in rungs)])

    def _matrix(self, keys: Sequence[int], row: Callable[[Student], Sequence[float] | Array]) -> Array:
        return np.array([row(self.students[key]) for key in keys])


def _body(student: Student) -> list[float]:
    return [*student.known, *(student.whole - student.known), *student.traits]
