"""Stop a student that is behind a student no larger, by more than finished students caught up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from tutelage.plugins import PluginConfig
from tutelage.search.gaussian_process import Array
from tutelage.search.rules import Judge, RuleContext, RuleJudge
from tutelage.search.rules._rows import Rows

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """How the margin is learned."""

    confidence: float = Field(
        0.9, gt=0, lt=1, description="share of pairs of finished students whose difference shrank by less than the margin"
    )


def build(config: Config, context: RuleContext) -> Judge:
    """Return the judge."""
    measure = context.primary
    return RuleJudge(
        Dominance(
            num_judged=context.num_validation if measure.spread == "share" else None, confidence=config.confidence,
            span=None if measure.low is None or measure.high is None else measure.high - measure.low,
        ),
        context,
    )  # fmt: skip


BINS = 2000  # of a histogram over differences of error: for a share from -1 to 1, to a thousandth


class Gains:
    """A histogram of differences of error, and its quantiles; of bounded errors, or of errors of any magnitude.

    The bins of errors within a `span` are equally wide. Without one (None) their width grows with the difference, a constant
    share of it over 24 decades, so that the quantiles do not depend on the error's unit.
    """

    SMALLEST, DECADES = 1e-12, 24

    def __init__(self, span: float | None) -> None:
        self.span, self.counts = span, np.zeros(BINS, dtype=np.int64)

    def add(self, differences: Array) -> None:
        """Count differences `[n]`."""
        places = np.clip(((self._unit(differences) + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def quantile(self, confidence: float) -> float:
        """Return the upper end of the bin below which a share `confidence` lies; 0 of nothing."""
        total = self.counts.sum()
        if total == 0:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self.counts), confidence * total))
        return self._difference((min(place, BINS - 1) + 1) * 2 / BINS - 1)

    def _unit(self, differences: Array) -> Array:
        """Return differences on a scale from -1 to 1."""
        if self.span is not None:
            return differences / self.span
        size = np.log1p(np.abs(differences) / self.SMALLEST) / (self.DECADES * math.log(10))
        return np.sign(differences) * size

    def _difference(self, unit: float) -> float:
        """Return the difference whose `_unit` is `unit`."""
        if self.span is not None:
            return unit * self.span
        return math.copysign(self.SMALLEST * math.expm1(abs(unit) * self.DECADES * math.log(10)), unit)


class Dominance:
    """A student is stopped if one that is no larger in anything was better at the rung by more than a margin.

    The margin at a rung is learned from all pairs of finished students of which one was behind a student no larger at the
    rung: it is the `confidence` quantile of how much that student caught up by the end, and at least `noise` standard errors of
    the difference of two errors. The standard error is computed for an error that is a share of `num_judged` examples; for
    others (None) it is estimated with the error, or 0 without an estimate. No student is stopped before `startup` students have
    finished. `span` is the range of possible errors, None if they are unbounded.
    """

    def __init__(
        self, *, num_judged: int | None, confidence: float = 0.9, noise: float = 1.0, startup: int = 8, span: float | None = 1.0
    ) -> None:
        self.num_judged, self.confidence, self.noise, self.startup = num_judged, confidence, noise, startup
        self.span = span
        self._seen: dict[int, Rows] = {}
        self._finished: dict[int, Rows] = {}
        self._gains: dict[int, Gains] = {}

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        """Return whether a no larger student was better by more than the margin; the newcomer is remembered either way."""
        seen = self._seen.setdefault(rung, Rows(len(known) + 1))
        rows = seen.rows
        no_larger = (rows[:, :-1] <= known).all(axis=1)
        best = rows[no_larger, -1].min(initial=math.inf)
        seen.add(np.append(known, error))
        return bool(best + self.margin(rung, error, variance) < error)

    def margin(self, rung: int, error: float, variance: float | None = None) -> float:
        """Return the margin at a rung: a student that is behind by more is stopped; infinite until enough have finished."""
        finished = self._finished.get(rung)
        if finished is None or len(finished.rows) < self.startup:
            return math.inf
        if self.num_judged is not None:
            variance = error * (1 - error) / self.num_judged
        noise = self.noise * math.sqrt(2 * (variance or 0.0))
        return max(noise, self._gains[rung].quantile(self.confidence))

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Add how far this student caught up with students no larger, and how far students no smaller caught up with it."""
        for rung, error in errors.items():
            rows = self._finished.setdefault(rung, Rows(len(known) + 2))
            others = rows.rows
            behind = (others[:, :-2] <= known).all(axis=1) & (others[:, -2] < error)
            ahead = (others[:, :-2] >= known).all(axis=1) & (others[:, -2] > error)
            gained = np.concatenate([
                (error - others[behind, -2]) - (last - others[behind, -1]),
                (others[ahead, -2] - error) - (others[ahead, -1] - last),
            ])  # fmt: skip
            self._gains.setdefault(rung, Gains(self.span)).add(gained)
            rows.add(np.array([*known, error, last]))
