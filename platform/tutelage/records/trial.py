"""One trial: what a search suggested, and how it ended, with the candidates that it gave."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeVar

State = Literal["running", "paused", "finished", "stopped", "failed", "infeasible"]


AMOUNT = "sparsity.amount"  # a searched value that each rung of a ladder has for itself
OPEN = ("running", "paused")  # states of a trial that has not ended


class WorkersLost(Exception):
    """The workers of a trial have died; it resumes from its last checkpoint in new ones."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes and MACs of a student before it is trained: `final` ones, and `initial` ones until something is removed from it.

    `final` is empty where training decides them, `initial` where nothing is removed.
    """

    final: dict[str, float] = field(default_factory=dict)
    initial: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One suggestion of a search.

    `number` is its order from 0; `config` is the whole resolved `student`, `distillation` and `sparsity`; `params` holds only
    the searched values that are active; `sizes` and `initial_sizes` are those of `Sizes`; `identity` is the content address of
    all that its training depends on; `origin` is what proposed it; `notes` are the sampler's own, which a resumed search
    gives back to it.
    """

    number: int
    config: dict[str, Any]
    params: dict[str, Any]
    sizes: dict[str, float] = field(default_factory=dict)
    initial_sizes: dict[str, float] = field(default_factory=dict)
    identity: str = ""
    origin: str = "sampler"
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def trial_id(self) -> str:
        """The trial's name."""
        return trial_name(self.number)

    @property
    def sizes_at_rungs(self) -> dict[str, float]:
        """The sizes that the student has before anything is removed from it."""
        return {**self.sizes, **self.initial_sizes}

    def record(self, state: State, **about: Any) -> TrialRecord:
        """Return the record of this suggestion in a state; `about` holds what else is known."""
        own = {one.name: getattr(self, one.name) for one in fields(Suggestion)}
        return TrialRecord(**own, state=state, **{"measures": {}, **about})


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of several networks of a trial: its measures, the share `amount` that was removed from it, and how it was made.

    `config` and `params` are its own where they differ from the trial's, as in a pack of students that train together under
    several settings; `config` is then whole, and `params` has the searched values that differ. On a ladder, `rung` is its
    place, from 0 for the whole student, and `config` is that of a training up to this rung.
    """

    measures: dict[str, float]
    amount: float
    made: str
    config: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    rung: int | None = None

    @property
    def is_inherited(self) -> bool:
        """Whether it was cut from another trained candidate, and trained only a little after that."""
        return bool(self.rung)


class _OnRung(Protocol):
    @property
    def rung(self) -> int | None: ...


OnRung = TypeVar("OnRung", bound=_OnRung)


def representative(candidates: Sequence[OnRung]) -> OnRung:
    """Return the candidate that represents its trial: the one of the highest rung; the first, where there are no rungs.

    The trial's config specifies it: the amount of `sparsity.amount`, whose sizes were known before the training.
    """
    return max(candidates, key=lambda one: one.rung or 0)


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Suggestion):
    """One trial from its suggestion to its last measure; or, from `per_candidate`, one of its candidates.

    `measures` are those of its only candidate, or of the `representative`: sampler and stopping rule have one result a trial,
    of the student that the config describes and whose `sizes` were known. A trial of several candidates has them all in
    `candidates`, and `candidate` is the record's number among them. `curve` has one row an epoch; the `_s` fields are seconds,
    of the trial.
    """

    state: State
    measures: dict[str, float]
    curve: tuple[dict[str, float], ...] = ()
    error: str = ""
    started_s: float = 0.0
    elapsed_s: float = 0.0
    step_s: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    candidate: int | None = None

    @property
    def trial_id(self) -> str:
        """The name of the trial, `t0012`, or of the candidate where the trial gave several, `t0012.3`."""
        return super().trial_id if self.candidate is None else candidate_id(super().trial_id, self.candidate)

    @property
    def parent(self) -> str:
        """The name of the trial that gave this candidate beside others; "" for a trial."""
        return "" if self.candidate is None else super().trial_id

    @property
    def rung(self) -> int | None:
        """The place of this candidate on its trial's ladder; None for a trial, and for a candidate of none."""
        return None if self.candidate is None else self.candidates[0].rung

    @property
    def is_inherited(self) -> bool:
        """Whether this candidate was cut from another trained one (`Candidate.is_inherited`)."""
        return bool(self.rung)

    def per_candidate(self) -> list[TrialRecord]:
        """Return a record for each candidate, in their order: the trial's own where it gave one or none."""
        if self.candidate is not None or not self.candidates:
            return [self]
        return [self._record_of(index, one) for index, one in enumerate(self.candidates)]

    def _record_of(self, index: int, one: Candidate) -> TrialRecord:
        config, params = one.config or self.config, {**self.params, **one.params}
        if one.rung is not None and AMOUNT in params:
            params[AMOUNT] = one.amount
        return replace(self, candidate=index, candidates=(one,), measures=one.measures, config=config, params=params)

    def with_measures(self, more: Mapping[str, Mapping[str, float]]) -> TrialRecord:
        """Return the trial's record with further measures, given by the names of its candidates."""
        assert self.candidate is None, "the ledger holds trials"
        if not self.candidates:
            return replace(self, measures={**self.measures, **more.get(self.trial_id, {})})
        own = [more.get(candidate_id(self.trial_id, index), {}) for index in range(len(self.candidates))]
        found = tuple(replace(one, measures={**one.measures, **new}) for one, new in zip(self.candidates, own, strict=True))
        return replace(self, candidates=found, measures=representative(found).measures)

    def rows_at(self, epochs: Collection[int]) -> list[dict[str, float]]:
        """Return the curve's rows after these epochs."""
        return [row for row in self.curve if row["epoch"] in epochs]

    def document(self) -> dict[str, Any]:
        """Return the record as a mapping of JSON values."""
        return {"trial_id": self.trial_id, **asdict(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TrialRecord:
        """Return the record that `document` gave."""
        known = {name: value for name, value in document.items() if name != "trial_id"}
        candidates = tuple(Candidate(**one) for one in known["candidates"])
        return cls(**{**known, "curve": tuple(known["curve"]), "candidates": candidates})


def trial_name(number: int) -> str:
    """Return the name of a trial by its number from 0."""
    return f"t{number:04d}"


def one_a_trial(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return of records of candidates the representative of each trial, in the order of the trials."""
    found = dict[int, list[TrialRecord]]()
    for record in records:
        found.setdefault(record.number, []).append(record)
    return [representative(each) for each in found.values()]


def candidate_id(trial: str, index: int) -> str:
    """Return the name of one of a trial's several candidates, by its place from 0."""
    return f"{trial}.{index}"


def candidate_ids(trial: str, count: int, *, are_named: bool = False) -> list[str]:
    """Return the names of a trial's candidates: the trial's own where there is one, unless they `are_named` in any case."""
    return [trial] if count == 1 and not are_named else [candidate_id(trial, index) for index in range(count)]
