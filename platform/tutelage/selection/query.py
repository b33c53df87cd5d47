"""The selection of one student from a front by a policy, with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from tutelage import pareto, plugins
from tutelage.errors import InputError, NoStudentFits, TutelageError
from tutelage.measure import Measure
from tutelage.networks import forward
from tutelage.objectives import Limits, Objective, losses, objective
from tutelage.plugins import Reference
from tutelage.policies import SelectionContext
from tutelage.records.fronts import candidates
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord

NEAREST_SHOWN = 3
ROUNDING = 1e-12  # of the largest score


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The selected student, the reason, and the next student in the policy's order (None: there is none)."""

    record: TrialRecord
    reason: str
    runner_up: TrialRecord | None


@dataclass(frozen=True, kw_only=True)
class SelectionQuery:
    """A policy and limits that select one of a sweep's students, with the sweep's objectives and teacher.

    `estimates` has, by trial, the value of the `primary` measure that the choice uses, such as a confidence bound, and
    `quality` its name, by default the measure's label. Students without an estimate have the value of the search.
    """

    policy: Reference
    objectives: tuple[Objective, ...]
    primary: Measure
    limits: Limits = field(default_factory=Limits)
    teacher: Mapping[str, float] = field(default_factory=dict)
    quality: str = ""
    estimates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `InputError` for a policy that does not exist, or has wrong options."""
        _ = self._plugin

    @cached_property
    def _plugin(self) -> tuple[str, Any, Any]:
        return plugins.configure("policies", self.policy)

    @property
    def policy_name(self) -> str:
        """The policy's name."""
        return self._plugin[0]

    @property
    def measures(self) -> set[str]:
        """The measures that a student must have."""
        return {*(axis.name for axis in self.axes), *self.limits.max, *self.limits.min}

    @property
    def axes(self) -> list[Objective]:
        """The axes on which dominance is decided: the objectives, and the measures that the policy uses."""
        named = {axis.name for axis in self.objectives}
        own = [objective(name) for name in self._own_measures if name not in named]
        return [*self.objectives, *own]

    @property
    def _own_measures(self) -> Sequence[str]:
        return getattr(self._plugin[1], "MEASURES", ())

    def fits(self, records: Sequence[TrialRecord], lacking: Collection[str] = ()) -> list[bool]:
        """Return for each whether it has finished, meets the limits, and has every needed measure, except those `lacking`."""
        needed = self.measures - set(lacking)
        return [r.state == "finished" and self.limits.are_met(self.values(r)) and needed <= set(r.measures) for r in records]

    def values(self, record: TrialRecord) -> Mapping[str, float]:
        """Return a student's measures, the primary one as estimated."""
        return self._context.values(record)

    def _non_dominated(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        mask = pareto.non_dominated_mask(losses([self.values(record) for record in records], self.axes))
        return [record for record, keep in zip(records, mask, strict=True) if keep]

    def fitting(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return the `records` that fit; see `fits`."""
        return [record for record, fits in zip(records, self.fits(records), strict=True) if fits]

    def ranked(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return the non-dominated records among those that fit, without those that the policy excludes, best first.

        Of equal scores, the better primary measure comes first, then the smaller student, then the earlier one. Scores are
        equal if they differ by rounding only.
        """
        front = self._non_dominated(self.fitting(records))
        scores = self._scores(front)
        taken = [(level, record) for level, score, record in zip(levels(scores), scores, front, strict=True) if score > -np.inf]

        def order(one: tuple[int, TrialRecord]) -> tuple[float | int, ...]:
            level, record = one
            quality, size = self.primary.sign * self.values(record)[self.primary.name], record.measures.get("params", 0.0)
            return level, quality, size, record.number, record.candidate or 0

        return [record for _, record in sorted(taken, key=order)]

    def select(self, records: Sequence[TrialRecord], among: Collection[str] | None = None) -> Selection:
        """Return the best student by the policy, of the trials `among` if given; `NoStudentFits` names the nearest three."""
        ranked = [one for one in self.ranked(records) if among is None or one.trial_id in among]
        if not ranked:
            raise NoStudentFits(self._why_none(records))
        return Selection(record=ranked[0], reason=self._reason(ranked[0], records), runner_up=ranked[1] if ranked[1:] else None)

    def _scores(self, front: Sequence[TrialRecord]) -> list[float]:
        if not front:
            return []
        name, plugin, config = self._plugin
        with forward.of_user(f"policy '{name}' on a front of {len(front)}"):
            scores = np.asarray(plugin.scores(config, _copies(front), self._context), dtype=np.float64)
        if scores.shape != (len(front),) or np.isnan(scores).any():
            raise InputError(
                f"policy '{name}' must return one number for each of {len(front)} students. It returned {scores!r:.200}."
            )
        return [float(score) for score in scores]

    @cached_property
    def _context(self) -> SelectionContext:
        return SelectionContext(
            objectives=self.objectives, primary=self.primary, teacher=self.teacher, quality=self.quality or self.primary.label,
            estimates=self.estimates,
        )  # fmt: skip

    def _reason(self, record: TrialRecord, records: Sequence[TrialRecord]) -> str:
        name, plugin, config = self._plugin
        fitting = self.fitting(records)
        front = self._non_dominated(fitting)
        why = f"it scores highest of {len(front)}"
        if hasattr(plugin, "reason"):
            with forward.of_user(f"policy '{name}': reason"):
                why = str(plugin.reason(config, record, _copies(front), self._context))
        finished = sum(one.state == "finished" for one in records)
        among = "" if self.limits == Limits() else f" (among {len(fitting)} of {finished} students with {self._limits_text()})"
        return f"{name} takes {record.trial_id}: {why}{among}."

    def _limits_text(self) -> str:
        """Return the limits as text, with the name of the bounded value of the primary measure if it is an estimate."""
        is_bound = self.primary.name in (*self.limits.max, *self.limits.min)
        return self.limits.describe() + (f", the {self.quality}" if self.quality and is_bound else "")

    def _why_none(self, records: Sequence[TrialRecord]) -> str:
        finished = [record for record in records if record.state == "finished"]
        if not finished:
            return "no student has finished, so none can be selected."
        if not self.fitting(finished):
            return f"none of {len(finished)} students meets {self._limits_text()}. {self._nearest(finished)}"
        return (
            f"{plugins.described(self.policy)} takes none of the {len(self.fitting(finished))} students that meet the limits."
        )

    def _nearest(self, finished: Sequence[TrialRecord]) -> str:
        """Return the nearest three students and the bounds that each misses, as text."""
        closest = sorted(
            finished, key=lambda r: (len(self.measures - set(r.measures)), self.limits.shortfall(self.values(r)), r.number)
        )
        listed = "; ".join(f"{record.trial_id}, which has {self._missed(record)}" for record in closest[:NEAREST_SHOWN])
        return f"The nearest: {listed}."

    def _missed(self, record: TrialRecord) -> str:
        values = self.values(record)
        by = self.limits.missed(values)
        missed = [f"{name} {values[name]:,.6g} ({gap:,.4g} too {self._side(name, record)})" for name, gap in by.items()]
        return ", ".join(missed + [f"{name} not measured" for name in sorted(self.measures - set(record.measures))])

    def _side(self, name: str, record: TrialRecord) -> str:
        return "much" if self.values(record)[name] > self.limits.max.get(name, np.inf) else "little"


def _copies(front: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the records with measures of their own, which a user's policy may change."""
    return [replace(record, measures=dict(record.measures)) for record in front]


def levels(scores: Sequence[float]) -> list[int]:
    """Return the level of each score: 0 for the highest and scores that differ from it by rounding only, then 1, and so on.

    Rounding is a difference of at most 1e-12 times the largest absolute score.
    """
    tolerance = ROUNDING * max((abs(score) for score in scores if np.isfinite(score)), default=0.0)
    found, level, highest = [0] * len(scores), -1, np.inf
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        if level < 0 or highest - scores[place] > tolerance:
            level, highest = level + 1, scores[place]
        found[place] = level
    return found


def policies_taken(home: SweepDir) -> dict[str, dict[str, Any]]:
    """Return for each built-in policy, and that of the spec, which student it takes by the search's values, and why.

    `takes` is a name, None where a policy takes none; `why_none` is then the reason.
    """
    spec, records = home.spec(), candidates(home)
    found: dict[str, dict[str, Any]] = {}
    for policy in [*plugins.names("policies"), spec.select.policy]:
        try:
            query = SelectionQuery(
                policy=policy, limits=spec.select.limits, objectives=home.objectives(), primary=home.primary(),
                teacher=home.facts()["teacher"],
            )  # fmt: skip
            choice = query.select(records)
            taken = {"takes": choice.record.trial_id, "reason": choice.reason, "why_none": None}
        except TutelageError as error:  # no student fits, or a user's policy fails
            taken = {"takes": None, "reason": "", "why_none": str(error)}
        found[plugins.parse_reference(policy)[0]] = taken
    return found


def parse_policy(name: str, options: Sequence[str]) -> Reference:
    """Return the policy of a name and texts `option=value`, as on the command line; `InputError` for other text."""
    from tutelage.spec.yaml_lines import parse_value

    given = {}
    for text in options:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"'{text}' is not an option. Write option=value, such as within=0.005.")
        given[key.strip()] = parse_value(value)
    return {name: given} if given else name
