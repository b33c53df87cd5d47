"""The front of a sweep as its trials end, and the events of what each end changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tutelage import objectives as objectives_module
from tutelage import pareto
from tutelage.objectives import Limits, Objective
from tutelage.records.observer import Event, FrontChanged, TrialEnded
from tutelage.records.trial import TrialRecord


@dataclass(kw_only=True)
class LiveFront:
    """The front over `objectives` of the finished candidates that meet `limits`.

    `labels` has for every candidate `front`, `dominated` or another state; `hypervolumes` has one for each trial that had a
    worker, in the order in which they ended.
    """

    objectives: tuple[Objective, ...]
    limits: Limits
    front: pareto.Front = field(default_factory=pareto.Front)
    labels: dict[str, str] = field(default_factory=dict)
    num_ended: int = 0
    hypervolumes: list[float] = field(default_factory=list)

    def enter(self, record: TrialRecord, *, is_replayed: bool = False) -> Iterator[Event]:
        """Put the candidates of an ended trial into the front, and give the events of that."""
        self.num_ended += 1
        before, each = set(self.front), record.per_candidate()
        for one in filter(self._is_candidate, each):
            self.front.add(objectives_module.losses([one.measures], self.objectives)[0], one.trial_id)
        after, hypervolume = set(self.front), self.hypervolume
        labels = {one.trial_id: _label(one, self._is_candidate(one), one.trial_id in after) for one in each}
        self.labels |= labels
        if record.state != "infeasible":
            self.hypervolumes.append(hypervolume)
        yield TrialEnded(
            record=record, labels=labels, front_size=len(after), hypervolume=hypervolume, is_replayed=is_replayed
        )  # fmt: skip
        if after != before:
            self.labels |= dict.fromkeys(before - after, "dominated")
            yield FrontChanged(
                num_ended=self.num_ended, entered=frozenset(after - before), left=frozenset(before - after),
                size=len(after), hypervolume=hypervolume,
            )  # fmt: skip

    @property
    def hypervolume(self) -> float:
        """The front's hypervolume against the objectives' reference points."""
        return self.front.hypervolume(objectives_module.reference_losses(self.objectives))

    def _is_candidate(self, record: TrialRecord) -> bool:
        return record.state == "finished" and self.limits.are_met(record.measures)


def _label(record: TrialRecord, is_candidate: bool, is_on_front: bool) -> str:
    if record.state != "finished":
        return record.state
    if not is_candidate:
        return "infeasible"
    return "front" if is_on_front else "dominated"
