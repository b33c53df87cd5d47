"""What earlier sweeps know that a new one can start from: their fronts, their ends, and their students as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tutelage.errors import InputError
from tutelage.objectives import Objective
from tutelage.records import sweep_dir
from tutelage.records.fronts import non_dominated
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.suggest import SeededSuggestion, Suggester
from tutelage.spec.space import Choice, Domain, Space
from tutelage.spec.spec import Spec
from tutelage.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What was found: `seeded` to try first, `ends` on the same data to learn from, and `trained`, by identity."""

    home: SweepDir
    seeded: list[SeededSuggestion] = field(default_factory=list)
    ends: list[TrialRecord] = field(default_factory=list)
    trained: dict[str, tuple[SweepDir, TrialRecord]] = field(default_factory=dict)

    def teach(self, suggester: Suggester) -> None:
        """Tell of the ends; they count as the sweep's own to what suggests, and never enter its front."""
        for record in self.ends:
            suggester.know(record.params, record.measures)

    def recall(self, suggestion: Suggestion) -> TrialRecord | None:
        """Return the record of a suggestion that was trained exactly so before, its student copied here; None if it was not."""
        if suggestion.identity not in self.trained:
            return None
        there, record = self.trained[suggestion.identity]
        origin = f"recalled from {there.name}/{record.trial_id}"
        mine = replace(suggestion, origin=origin).record(
            "finished", measures=record.measures, candidates=record.candidates, curve=record.curve
        )  # fmt: skip
        for old, new in zip(record.per_candidate(), mine.per_candidate(), strict=True):
            shutil.copytree(there.students_dir / old.trial_id, self.home.students_dir / new.trial_id, dirs_exist_ok=True)
        return mine


def read(spec: Spec, home: SweepDir, context: TrainingContext) -> WarmStart:
    """Return what the sweeps under `search.warm_start` know; `InputError` for one that is not there or has no end."""
    found = WarmStart(home=home)
    for name in spec.search.warm_start:
        there = find(Path(spec.storage), name)
        finished = [record for record in there.trials() if record.state == "finished"]
        fitting = [record for record in finished if fits(spec.space, record)]
        front = non_dominated([one for record in fitting for one in record.per_candidate()], there.objectives())
        settings = {json.dumps(record.params, sort_keys=True): record.params for record in front}
        found.seeded.extend(SeededSuggestion(params=one, origin=f"front of {there.name}") for one in settings.values())
        if there.facts()["fingerprint"] == context.fingerprint:
            found.ends.extend(record for record in fitting if _measures_all(record, spec.search.objectives))
        found.trained.update({record.identity: (there, record) for record in finished if _is_whole(there, record, spec)})
    return found


def _is_whole(home: SweepDir, record: TrialRecord, spec: Spec) -> bool:
    """Return whether all is there that a record needs to stand for a student of the spec: its networks and objectives."""
    has_networks = all((home.students_dir / one.trial_id).exists() for one in record.per_candidate())
    return has_networks and _measures_all(record, spec.search.objectives)


def find(storage: Path, name: str) -> SweepDir:
    """Return a sweep to start from; `InputError` if it is not there or no student of it has finished."""
    there = sweep_dir.find(storage, name)
    if not any(record.state == "finished" for record in there.records()):
        raise InputError(f"search.warm_start: no student of sweep '{name}' has finished, so there is nothing to start from.")
    return there


def fits(space: Space, record: TrialRecord) -> bool:
    """Return whether the space can give the record's searched values, all of them and no others."""

    def given(name: str, domain: Domain) -> object:
        value = record.params[name]
        if isinstance(domain, Choice):
            inside = value in domain.labels
        else:
            inside = isinstance(value, int | float) and domain.low <= value <= domain.high
        if not inside:
            raise KeyError(name)
        return value

    try:
        return set(space.resolve(given)[1]) == set(record.params)
    except KeyError:
        return False


def _measures_all(record: TrialRecord, objectives: Sequence[Objective]) -> bool:
    return all(objective.name in record.measures for objective in objectives)
