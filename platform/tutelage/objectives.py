"""Objectives and limits: what a search improves, losses of it that are lower where it is better, and bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage import plugins
from tutelage.errors import InputError, WorkFailed
from tutelage.measure import Direction, Measure, neg_log10_error


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A measure that a search improves; `reference` is a value worse than any wanted, in natural units (None: the teacher's).

    `spelling` is how a spec names the measure, where that is not the measure's own name: a user's `module:Name`.
    """

    measure: Measure
    reference: float | None = None
    spelling: str = ""

    @property
    def name(self) -> str:
        """The measure's name."""
        return self.measure.name

    @property
    def direction(self) -> Direction:
        """Whether higher or lower is better."""
        return self.measure.direction

    @property
    def unit(self) -> str:
        """The measure's unit."""
        return self.measure.unit

    def document(self) -> dict[str, Any]:
        """Return the objective as JSON values; what the measure is beside its direction and unit is not in it."""
        return {"name": self.name, "direction": self.direction, "unit": self.unit, "reference": self.reference}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], measures: Mapping[str, Measure]) -> Objective:
        """Return the objective that `document` gave, of the measure of that name."""
        measure = replace(measures[document["name"]], direction=document["direction"])
        return cls(measure=measure, reference=document["reference"])


def objective(name: str) -> Objective:
    """Return a measure of the family, or a user's `module:Name`, as an objective; `InputError` for an unknown name."""
    measure = plugins.measure(name)
    return Objective(measure=measure, reference=measure.reference, spelling=name if ":" in name else "")


def _signs(objectives: Sequence[Objective]) -> NDArray[np.float64]:
    return np.array([o.measure.sign for o in objectives])


def losses(rows: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Return the matrix (num_rows, num_objectives) of `rows`' measures, lower is better.

    A measure that a row lacks raises `WorkFailed`, which lists those it has.
    """
    try:
        values = [[row[o.name] for o in objectives] for row in rows]
    except KeyError as error:
        have = sorted({name for row in rows for name in row})
        raise WorkFailed(f"no student reports the objective {error}; they report {', '.join(have)}.") from None
    return np.array(values, dtype=np.float64).reshape(len(rows), len(objectives)) * _signs(objectives)


def even_losses(measures: Mapping[str, float], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Return losses (num_objectives,) on the measures' own scales, on which equal steps are equal gains."""
    raw = losses([measures], objectives)[0] * _signs(objectives)
    even = [objective.measure.even_loss(float(value)) for objective, value in zip(objectives, raw, strict=True)]
    return np.array(even, dtype=np.float64)


def reference_losses(objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Return the reference point as losses (num_objectives,); every objective must have one."""
    assert all(o.reference is not None for o in objectives), objectives
    return np.array([o.reference for o in objectives], dtype=np.float64) * _signs(objectives)


def even_reference(objectives: Sequence[Objective], learned: str) -> NDArray[np.float64]:
    """Return the reference point on even scales, the measure `learned` last; every objective must have a reference."""
    ordered = sorted(objectives, key=lambda objective: objective.name == learned)
    return even_losses({o.name: o.reference for o in ordered if o.reference is not None}, ordered)


def worst_end(objectives: Sequence[Objective], primary: Measure) -> float:
    """Return the even loss of the primary measure above which a student improves no front.

    It is 0 (an error of 1) for a share, and that of the objective's reference point for other measures.
    """
    return 0.0 if primary.scale is neg_log10_error else float(even_reference(objectives, primary.name)[-1])


@dataclass(frozen=True)
class Limits:
    """Bounds on measures, in natural units: at most `max`, at least `min`; a bound itself is met."""

    max: Mapping[str, float] = field(default_factory=dict)
    min: Mapping[str, float] = field(default_factory=dict)

    def without(self, *names: str) -> Limits:
        """Return the bounds on all other measures."""
        sides = ({name: bound for name, bound in side.items() if name not in names} for side in (self.max, self.min))
        return Limits(*sides)

    def violations(self, measures: Mapping[str, float]) -> dict[str, float]:
        """Return by how much each bound is missed (> 0: missed), in the measure's unit; absent measures are left out."""
        over = {name: measures[name] - bound for name, bound in self.max.items() if name in measures}
        under = {name: bound - measures[name] for name, bound in self.min.items() if name in measures}
        return {name: max(over.get(name, -np.inf), under.get(name, -np.inf)) for name in {**over, **under}}

    def are_met(self, measures: Mapping[str, float]) -> bool:
        """Return whether every bound is met; a bounded measure that is absent does not meet its bound."""
        named = {*self.max, *self.min}
        return named <= set(measures) and not self.missed(measures)

    def missed(self, measures: Mapping[str, float]) -> dict[str, float]:
        """Return by how much each bound that is missed is."""
        return {name: by for name, by in self.violations(measures).items() if by > 0}

    def describe_missed(self, measures: Mapping[str, float]) -> str:
        """Return the measures that miss their bounds in words."""
        return ", ".join(f"{name} {measures[name]:g}" for name in self.missed(measures))

    def shortfall(self, measures: Mapping[str, float]) -> float:
        """Return the sum of relative misses, 0 where all bounds are met: how far `measures` are from fitting."""
        bounds = {**self.min, **self.max}
        return float(sum(by / (abs(bounds[name]) or 1.0) for name, by in self.missed(measures).items()))

    def describe(self) -> str:
        """Return the bounds in words."""
        most = [f"{name} ≤ {bound:g}" for name, bound in self.max.items()]
        least = [f"{name} ≥ {bound:g}" for name, bound in self.min.items()]
        return ", ".join(most + least) or "no limits"


_QUANTITY = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([kKMG]i|[kKMG]?)[bB]?\s*$", re.ASCII)
_POWER = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3}


def parse_quantity(text: str | float) -> float:
    """Return "200k", "20 kB", "1.5M", "4KiB" or "0.9" as a number; `InputError` otherwise.

    k, M and G are powers of 1000; Ki, Mi and Gi powers of 1024.
    """
    match = _QUANTITY.match(str(text))
    if match is None or isinstance(text, bool):
        raise InputError(f"'{text}' is not a quantity. Write a number with an optional k, M or G, such as 200k or 0.9.")
    value = float(match[1]) * (1024.0 if match[2].endswith("i") else 1e3) ** _POWER[match[2][:1]]
    if not np.isfinite(value):
        raise InputError(f"'{text}' is not a quantity. It is too large to be a number.")
    return value
