"""Where searches compete: a space, and what becomes of any of its configs; from a recorded table or a textbook problem."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.benchmarks.problems import Problem
from tutelage import pareto
from tutelage.measure import SMALLEST
from tutelage.spec import loading
from tutelage.spec.domains import Choice, Domain
from tutelage.spec.space import Space

Array = NDArray[np.float64]
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Student:
    """What a config gives: losses known before training `[k]`, and while it is `whole`; errors seen after each epoch,
    the true error with all epochs, the seconds of an epoch, and the table's row, None where there is no table."""

    known: Array
    whole: Array
    errors: Array
    true: float
    epoch_s: float
    row: int | None = None


class Ground(Protocol):
    """A space with its students; `volume` is the share of the best known hypervolume that students have between them.

    An error is as noisy as one over `num_judged` examples. `even` gives sizes and an error on the scales that `volume` is
    measured on, 0 for an error of 1; so is `reference`, up to which it is measured.
    """

    name: str
    epochs: int
    num_judged: int

    @property
    def space(self) -> Space: ...
    def student(self, params: Params, seed: int) -> Student: ...
    def arrivals(self, seed: int) -> Iterator[dict[str, Any]]: ...
    @property
    def reference(self) -> Array: ...
    def even(self, sizes: Array, error: float) -> Array: ...
    def volume(self, students: Sequence[Student]) -> float: ...
    def front_share(self, students: Sequence[Student]) -> float | None: ...


class Textbook:
    """A problem of `problems.py`: its best known hypervolume is the true front's, and it has no countable front."""

    def __init__(self, problem: Problem) -> None:
        self.name, self.epochs, self.space, self._problem = problem.name, problem.epochs, problem.space, problem
        self.num_judged = round(
            0.2 / problem.noise**2
        )  # the variance of an error e is e (1 - e) / examples, around 0.2 / examples

    def student(self, params: Params, seed: int) -> Student:
        x = self._problem.values(params)[None, :]
        known, errors = self._problem.true(x)
        return Student(
            known=known[0], whole=known[0], errors=self._problem.curves(x, seed)[0], true=float(errors[0]), epoch_s=1.0
        )

    def arrivals(self, seed: int) -> Iterator[dict[str, Any]]:
        generator = np.random.default_rng(seed)
        while True:
            yield {name: float(generator.random()) for name in self.space.names()}

    @property
    def reference(self) -> Array:
        problem = self._problem
        last = (problem.reference[-1] - problem.low) / (problem.high - problem.low)
        return self.even(np.array(problem.reference[:-1]), last)

    def even(self, sizes: Array, error: float) -> Array:
        return np.append(sizes, error - 1)

    def volume(self, students: Sequence[Student]) -> float:
        if not students:
            return 0.0
        known, true = np.array([s.known for s in students]), np.array([s.true for s in students])
        return pareto.hypervolume(self._problem.natural(known, true), self._problem.reference) / self._problem.volume

    def front_share(self, students: Sequence[Student]) -> float | None:
        return None


class Recorded:
    """A table of `record.py`: a config is the recorded one nearest to it, trained with one of the recorded seeds.

    Nearest is among those with the same branch of each choice, by the distance over values scaled to their range, in the
    logarithm where the space is logarithmic. The truth about a config is its mean error over the recorded seeds; the front and
    the best known hypervolume are those of all recorded configs by that truth, over log10 of sizes and of error + 1/1000.
    """

    def __init__(self, table: Path, spec_path: Path, num_judged: int, sizes: Sequence[str] = ("params",)) -> None:
        frame = pd.read_parquet(table)
        complete = frame.groupby("config")["seed"].transform("count") == frame["seed"].nunique()
        frame = frame[complete].sort_values(["config", "seed"])
        count, seeds = frame["config"].nunique(), frame["seed"].nunique()
        errors = [name for name in frame if str(name).startswith("error_")]
        self.name, self.epochs, self.num_judged = table.stem, len(errors), num_judged
        self.space = loading.load(spec_path).space
        self._curves = frame[errors].to_numpy(float).reshape(count, seeds, self.epochs)
        first = frame.iloc[::seeds]
        self._known = first[list(sizes)].to_numpy(float)
        self._whole = np.column_stack([first.get(f"whole_{size}", first[size]) for size in sizes]).astype(float)
        self._epoch_s = frame["epoch_s"].to_numpy(float).reshape(count, seeds).mean(axis=1)
        self._configs = [self._params_of(row) for row in first.to_dict("records")]
        self._true = self._curves[:, :, -1].mean(axis=1)

    def __len__(self) -> int:
        return len(self._configs)

    @property
    def num_seeds(self) -> int:
        """How many seeds each config was trained with."""
        return int(self._curves.shape[1])

    def _params_of(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        def recorded(name: str, domain: Domain) -> Any:
            value = row[f"config.{name}"]
            if isinstance(domain, Choice):
                return next(label for label in domain.labels if label == value)
            return type(domain.low)(value)

        return self.space.resolve(recorded)[1]

    @cached_property
    def _groups(self) -> dict[tuple[Any, ...], tuple[NDArray[np.int64], Array]]:
        """The rows with the same branches, and their scaled values."""
        rows: dict[tuple[Any, ...], list[int]] = {}
        for row, params in enumerate(self._configs):
            rows.setdefault(self._branches(params), []).append(row)
        return {
            branches: (np.array(members), np.array([self._scaled(self._configs[row]) for row in members]))
            for branches, members in rows.items()
        }

    @cached_property
    def _domains(self) -> dict[str, Domain]:
        return dict(self.space.domains())

    def _branches(self, params: Params) -> tuple[Any, ...]:
        return tuple(value for name, value in params.items() if isinstance(self._domains[name], Choice))

    def _scaled(self, params: Params) -> list[float]:
        found = []
        for name, value in params.items():
            domain = self._domains[name]
            if isinstance(domain, Choice) or domain.low == domain.high:
                continue
            low, high, at = (math.log(v) if domain.log else v for v in (domain.low, domain.high, value))
            found.append((at - low) / (high - low))
        return found

    def nearest(self, params: Params) -> int:
        """Return the row of the recorded config that is nearest to this one."""
        rows, scaled = self._groups[self._branches(params)]
        return int(rows[((scaled - self._scaled(params)) ** 2).sum(axis=1).argmin()])

    def student(self, params: Params, seed: int) -> Student:
        row = self.nearest(params)
        drawn = int(np.random.default_rng((seed, row)).integers(self.num_seeds))
        return Student(
            known=self._known[row], whole=self._whole[row], errors=self._curves[row, drawn], true=float(self._true[row]),
            epoch_s=float(self._epoch_s[row]), row=row,
        )  # fmt: skip

    def arrivals(self, seed: int) -> Iterator[dict[str, Any]]:
        for row in np.random.default_rng(seed).permutation(len(self)):
            yield dict(self._configs[row])

    def even(self, sizes: Array, error: float) -> Array:
        found: Array = np.log10(np.append(sizes, error + SMALLEST))
        return found

    @cached_property
    def _points(self) -> Array:
        found: Array = np.log10(np.column_stack([self._known, self._true + SMALLEST]))
        return found

    @cached_property
    def reference(self) -> Array:
        found: Array = self._points.max(axis=0) + 1e-6
        return found

    @cached_property
    def _best(self) -> float:
        return pareto.hypervolume(self._points, self.reference)

    @cached_property
    def _front(self) -> NDArray[np.int64]:
        return np.flatnonzero(pareto.non_dominated_mask(np.column_stack([self._known, self._true])))

    def volume(self, students: Sequence[Student]) -> float:
        rows = _rows(students)
        return pareto.hypervolume(self._points[rows], self.reference) / self._best if rows else 0.0

    def front_share(self, students: Sequence[Student]) -> float | None:
        return float(np.isin(self._front, _rows(students)).mean())


def _rows(students: Sequence[Student]) -> list[int]:
    return [student.row for student in students if student.row is not None]
