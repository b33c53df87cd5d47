"""What a new sweep takes from earlier ones: their fronts, their results, and their trained students."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tutelage.errors import InputError
from tutelage.objectives import Objective
from tutelage.records import sweeps
from tutelage.records.fronts import non_dominated
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.suggest import SeededSuggestion, Suggester
from tutelage.spec.domains import Domain, has, value_near
from tutelage.spec.space import Space
from tutelage.spec.spec import Spec
from tutelage.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Suggestions to try first (`seeded`), results on the same data (`ends`), and trained students by identity."""

    home: SweepDir
    seeded: list[SeededSuggestion] = field(default_factory=list)
    ends: list[TrialRecord] = field(default_factory=list)
    trained: dict[str, tuple[SweepDir, TrialRecord]] = field(default_factory=dict)

    def add_to(self, suggester: Suggester) -> None:
        """Add the results to the suggester; the sampler uses them as the sweep's own, and they never enter its front."""
        for record in self.ends:
            suggester.add_finished(record.params, record.measures)

    def recall(self, suggestion: Suggestion) -> TrialRecord | None:
        """Return the record of an identical earlier training, and copy its student; None if there is none."""
        if suggestion.identity not in self.trained:
            return None
        there, record = self.trained[suggestion.identity]
        origin = f"recalled from {there.name}/{record.trial_id}"
        mine = replace(suggestion, origin=origin).record(
            "finished", measures=record.measures, candidates=record.candidates, curve=record.curve
        )  # fmt: skip
        for old, new in zip(record.per_candidate(), mine.per_candidate(), strict=True):
            with self.home.students.draft(new.trial_id, existing="replace") as draft:
                shutil.copytree(there.student_path(old.trial_id), draft, dirs_exist_ok=True)
        return mine


def read(spec: Spec, home: SweepDir, context: TrainingContext) -> WarmStart:
    """Return the warm start from the sweeps of `search.warm_start`; `InputError` for a sweep that does not exist or has no
    finished student."""
    found = WarmStart(home=home)
    for name in spec.search.warm_start:
        there = find(spec.storage, name)
        finished = [record for record in there.trials() if record.state == "finished"]
        near = [(record, params) for record in finished if (params := nearest_params(spec.space, record.params)) is not None]
        front = non_dominated([one for record, _ in near for one in record.per_candidate()], there.objectives())
        nearest = [nearest_params(spec.space, one.params) for one in front]
        settings = {json.dumps(params, sort_keys=True): params for params in nearest if params is not None}
        found.seeded.extend(SeededSuggestion(params=one, origin=f"front of {there.name}") for one in settings.values())
        if there.facts()["fingerprint"] == context.fingerprint:
            own = [replace(record, params=params) for record, params in near if has_params(spec.space, record.params)]
            found.ends.extend(record for record in own if _measures_all(record, spec.search.objectives))
        found.trained.update({record.identity: (there, record) for record in finished if _is_whole(there, record, spec)})
    return found


def _is_whole(home: SweepDir, record: TrialRecord, spec: Spec) -> bool:
    """Return whether a record has the networks and the objectives of a student of the spec."""
    has_networks = {one.trial_id for one in record.per_candidate()} <= {*home.students.list()}
    return has_networks and _measures_all(record, spec.search.objectives)


def find(storage: str, name: str) -> SweepDir:
    """Return a sweep to start from; `InputError` if it does not exist or none of its students has finished."""
    there = sweeps.find(storage, name)
    if not any(record.state == "finished" for record in there.records()):
        raise InputError(f"search.warm_start: no student of sweep '{name}' has finished, so there is nothing to start from.")
    return there


def nearest_params(space: Space, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the space's searched values that are nearest to `params`; None unless it has all of these names and no others.

    A value outside its range or choice has no nearest one.
    """

    def near(name: str, domain: Domain) -> Any:
        value = value_near(domain, params[name])
        if value is None:
            raise KeyError(name)
        return value

    try:
        found: dict[str, Any] = space.resolve(near)[1]
    except KeyError:
        return None
    return found if set(found) == set(params) else None


def has_params(space: Space, params: Mapping[str, Any]) -> bool:
    """Return whether the space itself can suggest these searched values."""
    domains = dict(space.domains())
    return nearest_params(space, params) is not None and all(has(domains[name], value) for name, value in params.items())


def _measures_all(record: TrialRecord, objectives: Sequence[Objective]) -> bool:
    return all(objective.name in record.measures for objective in objectives)
