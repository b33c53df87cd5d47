"""Replays a whole search in seconds, with a recorded table and a simulated clock in place of a cluster.

The table was written by `tests/benchmarks/record.py`, or is made from the ledger of a sweep without early stopping. The
students are those of a list, or the suggestions of a sampler, each replaced by the nearest recorded student.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tutelage import pareto
from tutelage.search.arrivals import Arrivals, Listed
from tutelage.search.gaussian_process import Array
from tutelage.search.promotion import Promotion, Student
from tutelage.search.recorded_table import Table
from tutelage.search.rules import Rule


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The simulated cluster: `workers`; the seconds until a trial starts or resumes; the share of rungs at which a trial is
    lost; how much slower the slowest worker is than the fastest; and whether the real time of decisions is added."""

    workers: int = 2
    start_s: float = 0.0
    loss_share: float = 0.0
    slowest: float = 1.0
    counts_decisions: bool = False


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """A search's result: the rows that finished, in order; epochs used until each finished; all epochs; seconds; busy share."""

    finished: tuple[int, ...]
    spent: tuple[int, ...]
    epochs: int
    elapsed_s: float
    busy_share: float
    num_trials: int


def replay(
    table: Table, rule: Rule | Promotion | None, rungs: Sequence[int], arrivals: Arrivals | Sequence[int],
    cluster: Cluster, seed: int = 0,
) -> Replayed:  # fmt: skip
    """Return the result of a search over the table's students; without a rule (None) no student is stopped.

    Each trial has one of the table's seeds, drawn by `seed`. A lost trial starts again, and all its epochs are counted.
    """
    source = Listed(arrivals) if isinstance(arrivals, Sequence) else arrivals
    return _ReplayedSearch(table, rule, rungs, source, cluster, np.random.default_rng(seed)).run()


@dataclass
class _ReplayedSearch:
    """A running search: its clock, its running trials, and the row of each trial."""

    table: Table
    rule: Rule | Promotion | None
    rungs: Sequence[int]
    arrivals: Arrivals
    cluster: Cluster
    generator: np.random.Generator
    now_s: float = 0.0
    busy_s: float = 0.0
    epochs: int = 0
    rows: list[int] = field(default_factory=list)  # of each trial
    seeds: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    running: list[tuple[float, int, int, int, int]] = field(default_factory=list)  # until, order, trial, halt, worker
    paused: set[int] = field(default_factory=set)

    def run(self) -> Replayed:
        """Run until no worker is busy."""
        last = self.table.max_epochs
        self.halts = [epoch for epoch in sorted(self.rungs) if epoch < last] + [last]
        self.order, idle, is_over = itertools.count(), list(range(self.cluster.workers)), False
        while True:
            while idle and not is_over:
                is_over = not self._starts(idle[-1])
                if not is_over:
                    idle.pop()
            if not self.running:
                break
            self.now_s, _, trial, halt, worker = heapq.heappop(self.running)
            if not self._continues(trial, halt, worker):
                idle.append(worker)
            is_over = False
        for trial in self.paused:
            self.arrivals.stopped(trial)
        busy = self.busy_s / (self.cluster.workers * self.now_s) if self.now_s else 0.0
        return Replayed(
            finished=tuple(self.finished), spent=tuple(self.spent), epochs=self.epochs, elapsed_s=self.now_s, busy_share=busy,
            num_trials=len(self.rows),
        )  # fmt: skip

    def _starts(self, worker: int) -> bool:
        """Return whether an idle worker gets a trial."""
        with self._deciding():
            trial = self.rule.promoted(is_last=False) if isinstance(self.rule, Promotion) else None
            row = self.arrivals.next() if trial is None else None
            if trial is None and row is None and isinstance(self.rule, Promotion):
                trial = self.rule.promoted(is_last=True)
        if trial is not None:
            self.paused.remove(trial)
            reached = self.rule.students[trial].errors if isinstance(self.rule, Promotion) else {}
            self._train(trial, len(reached), worker, self.now_s + self.cluster.start_s)
            return True
        if row is None:
            return False
        self.rows.append(row)
        self.seeds.append(int(self.generator.integers(self.table.errors.shape[1])))
        self._train(len(self.rows) - 1, 0, worker, self.now_s + self.cluster.start_s)
        return True

    def _train(self, trial: int, halt: int, worker: int, begin_s: float) -> None:
        more = self.halts[halt] - (self.halts[halt - 1] if halt else 0)
        slower = 1 + (self.cluster.slowest - 1) * worker / max(1, self.cluster.workers - 1)
        took_s = more * self.table.epoch_s[self.rows[trial]] * slower
        self.epochs += more
        self.busy_s += took_s
        heapq.heappush(self.running, (begin_s + took_s, next(self.order), trial, halt, worker))

    def _continues(self, trial: int, halt: int, worker: int) -> bool:
        """Return whether a trial keeps its worker after a rung or its last epoch."""
        row = self.rows[trial]
        if self.cluster.loss_share and self.generator.random() < self.cluster.loss_share:
            self._train(trial, 0, worker, self.now_s + self.cluster.start_s)
            return True
        errors = self.table.errors[row, self.seeds[trial]]
        with self._deciding():
            if self.halts[halt] == self.table.max_epochs:
                self._end(trial, errors)
                return False
            error = errors[self.halts[halt] - 1]
            self.arrivals.seen(trial, self.halts[halt], self._losses(self.table.whole[row], error))
            if isinstance(self.rule, Promotion):
                if self.rule.pauses(trial, self.halts[halt], self._student(row), self._even(error)):
                    self.rule.paused(trial)
                    self.paused.add(trial)
                    return False
            elif self.rule and self.rule.stops(self.halts[halt], self.table.known[row], error):
                self.arrivals.stopped(trial)
                return False
        self._train(trial, halt + 1, worker, self.now_s)
        return True

    def _end(self, trial: int, errors: Array) -> None:
        row = self.rows[trial]
        self.finished.append(row)
        self.spent.append(self.epochs)
        losses = self._losses(self.table.known[row], errors[-1])
        self.arrivals.seen(trial, self.table.max_epochs, losses)
        if isinstance(self.rule, Promotion):
            self.rule.finished(trial, self._student(row), losses[-1])
        elif self.rule:
            at_rungs = {epoch: errors[epoch - 1] for epoch in self.halts[:-1]}
            self.rule.finished(self.table.known[row], at_rungs, errors[-1])

    def _student(self, row: int) -> Student:
        known, whole = np.log10(self.table.known[row]), np.log10(self.table.whole[row])
        return Student(known=known, whole=whole, traits=self.table.traits[row])

    def _losses(self, sizes: Array, error: float) -> Array:
        found: Array = np.append(np.log10(sizes), self._even(error))
        return found

    def _even(self, error: float) -> float:
        return float(self.table.even(np.array(error)))

    def _deciding(self) -> _Deciding:
        return _Deciding(self)


class _Deciding:
    """Adds the real time of a decision to the simulated clock, if the cluster counts it."""

    def __init__(self, search: _ReplayedSearch) -> None:
        self._search = search

    def __enter__(self) -> None:
        self._begun_s = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        if self._search.cluster.counts_decisions:
            self._search.now_s += time.perf_counter() - self._begun_s


def judged(table: Table, replayed: Replayed) -> dict[str, Any]:
    """Return the shares of all epochs that were spent, of the hypervolume and of the true front that were reached.

    The hypervolume is that of the finished students at their true places, up to the worst student, over that of the table.
    """
    ends, worst = table.ends, table.ends.max(axis=0) + 1e-6
    front, reached = np.flatnonzero(pareto.non_dominated_mask(ends)), list(replayed.finished)
    return {
        "epochs": replayed.epochs / (replayed.num_trials * table.max_epochs),
        "hypervolume": pareto.hypervolume(ends[reached], worst) / pareto.hypervolume(ends, worst),
        "front": float(np.isin(front, reached).mean()),
        "finished": len(reached),
    }


def hypervolume_after(table: Table, replayed: Replayed) -> Array:
    """Return the share of the table's hypervolume after each finished student, `[finished]`."""
    ends, worst = table.ends, table.ends.max(axis=0) + 1e-6
    whole, front = pareto.hypervolume(ends, worst), pareto.Front()
    found: list[float] = []
    for place, row in enumerate(replayed.finished):
        if front.add(ends[row], str(place)) or not found:
            found.append(front.hypervolume(worst) / whole)
        else:
            found.append(found[-1])
    return np.array(found)
