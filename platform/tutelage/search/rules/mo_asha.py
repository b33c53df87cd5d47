"""Keep the best 1 / factor of a rung by non-dominated rank and crowding (MO-ASHA; Schmucker et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tutelage import pareto
from tutelage.plugins import PluginConfig
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.gaussian_process import Array
from tutelage.search.rules import Decision, Judge, RuleContext, RuleJudge
from tutelage.search.rules._rows import Rows

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """The number of groups in which students are compared."""

    brackets: int = Field(
        1, ge=1, le=10, description="number of groups of students; each is first compared one rung later than the one before"
    )


def build(config: Config, context: RuleContext) -> Judge:
    """Return the judge."""
    firsts = range(min(config.brackets, len(context.rungs) + 1))
    brackets = [RuleJudge(Halving(factor=context.factor), context, context.rungs[first:]) for first in firsts]
    return brackets[0] if len(brackets) == 1 else BracketedJudge(brackets, factor=context.factor, seed=context.seed)


class Halving:
    """Of the students that reached a rung, the best 1 / `factor` continue (MO-ASHA; Schmucker et al., 2021; Li et al., 2020).

    Best is by layer of non-dominated known losses and error, and within a layer by the distance to its neighbours, the
    outermost first (crowding; Deb et al., 2002). Asynchronous: each is compared with those before it; the first `factor`
    continue.
    """

    def __init__(self, *, factor: int = 3) -> None:
        self.factor = factor
        self._seen: dict[int, _Leaders] = {}

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        """Return whether the new row is not among the best 1 / `factor` of the rung so far."""
        seen = self._seen.setdefault(rung, _Leaders(len(known) + 1))
        wanted = max(math.ceil((len(seen) + 1) / self.factor), 1)
        place = seen.add(np.append(known, error), wanted)
        return len(seen) > self.factor and place >= wanted

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        """Do nothing: this rule uses ranks only."""


class _Leaders:
    """The rows of a rung. Only the first layers (the leaders) are ranked, because they decide which rows are the best.

    Adding a row never improves the rank of another row, so a row outside these layers remains outside and does not change the
    ranks within them. The leaders' ranks among themselves are therefore their ranks among all rows, up to the last complete
    layer.
    """

    RESERVE = 1.25  # leaders that are kept for each one that is needed, so that they last for a while

    def __init__(self, width: int) -> None:
        self._rows, self._leaders, self._num_layers = Rows(width), Rows(width), 0

    def __len__(self) -> int:
        return len(self._rows.rows)

    def add(self, row: Array, wanted: int) -> int:
        """Return how many rows come before the new row, by layer, then by crowding; at most `wanted`."""
        self._rows.add(row)
        self._leaders.add(row)
        ranks = pareto.rank(self._leaders.rows)
        if (ranks < self._num_layers).sum() < wanted:
            ranks = self._hold(wanted)
        own = ranks[-1]
        if own >= self._num_layers:
            self._leaders.drop_last()
            return wanted
        crowding = crowding_distance(self._leaders.rows[ranks == own])
        return int((ranks < own).sum()) + int((crowding[:-1] > crowding[-1]).sum())

    def _hold(self, wanted: int) -> NDArray[np.int64]:
        """Keep the first layers of all rows, somewhat more than `wanted` rows, and the new row; return their ranks."""
        rows = self._rows.rows
        ranks = pareto.rank(rows)
        sizes = np.cumsum(np.bincount(ranks))
        self._num_layers = int(np.searchsorted(sizes, min(self.RESERVE * wanted, len(rows)))) + 1
        kept = ranks < self._num_layers
        kept[-1] = True
        self._leaders = Rows(rows.shape[1])
        for row in rows[kept]:
            self._leaders.add(row)
        found: NDArray[np.int64] = ranks[kept]
        return found


def crowding_distance(rows: Array) -> Array:
    """Return each row's distance to its neighbours, in shares of an objective's range and summed; the outermost have inf."""
    found = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        found[order[[0, -1]]] = math.inf
        if spread > 0:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return found


class BracketedJudge:
    """Several rules, each of which begins one rung later than the one before; each trial is judged by one of them.

    A late bracket gives students that start slowly more epochs (Li et al., 2018). Of R rungs, bracket b = 0, 1, … is drawn with
    a probability in proportion to (R + 1) / (R - b + 1) · `factor`^-b, Hyperband's shares; by a trial's number and `seed`, so
    that a resumed search draws the same.
    """

    pausing = False

    def __init__(self, brackets: Sequence[RuleJudge], *, factor: int, seed: int) -> None:
        self._brackets, self._seed = brackets, seed
        self.rungs = brackets[0].rungs
        shares = np.array([factor**-b / (len(self.rungs) - b + 1) for b in range(len(brackets))])
        self._shares = shares / shares.sum()

    def bracket_of(self, number: int) -> RuleJudge:
        """Return the rule that judges a trial."""
        place = np.random.default_rng((self._seed, number)).choice(len(self._brackets), p=self._shares)
        return self._brackets[int(place)]

    def judge(self, suggestion: Suggestion, row: Mapping[str, Any]) -> Decision:
        """Return whether a trial continues; a trial whose bracket does not have this rung continues."""
        bracket = self.bracket_of(suggestion.number)
        return bracket.judge(suggestion, row) if int(row["epoch"]) in bracket.rungs else "continue"

    def promoted(self, *, is_last: bool) -> Suggestion | None:
        """Return None: a stopped trial is never continued."""
        return None

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Learn from the records of a resumed search."""
        for record in records:
            self.bracket_of(record.number).resume([record])

    def learn(self, record: TrialRecord) -> None:
        """Pass a trial that ended to its bracket."""
        self.bracket_of(record.number).learn(record)
