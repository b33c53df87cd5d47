"""The sweep's records in the driver: ledger, front, events. Knows neither Ray nor Optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage import objectives as objectives_module
from tutelage import pareto
from tutelage.escaping import for_markdown
from tutelage.measure import Measure
from tutelage.objectives import Limits, Objective
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import EpochEnded, FrontChanged, TrialEnded, TrialStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, tables


@dataclass
class Recorder:
    """Records every trial once: in the ledger, in the front, as an event for the observers, and for the sampler.

    The ledger comes first: everything else can be made again from it.
    """

    home: SweepDir
    objectives: tuple[Objective, ...]
    limits: Limits
    teacher_address: str
    tracker: Tracker
    events: Dispatcher
    learn: Callable[[TrialRecord], None]
    teacher: dict[str, float]
    front: pareto.Front = field(default_factory=pareto.Front)
    labels: dict[str, str] = field(default_factory=dict)
    num_ended: int = 0
    hypervolumes: list[float] = field(default_factory=list)  # after each trial that had a worker

    def started(self, record: TrialRecord) -> None:
        """Record that a trial starts, before it does."""
        self.home.ledger.append(record)
        self.events.send(TrialStarted(record=record))

    def epoch_ended(self, trial_id: str, row: Mapping[str, Any]) -> None:
        """Send a trial's epoch as an event."""
        self.events.send(EpochEnded(trial_id=trial_id, row=row))

    def returned(self, record: TrialRecord) -> None:
        """Record a trial whose worker is free again: it has ended, or it is paused."""
        if record.state == "paused":
            self.home.ledger.append(record)
        else:
            self.finished(record)

    def finished(self, record: TrialRecord) -> None:
        """Record an ended trial that had a worker."""
        self.rejected(record)
        self.learn(record)

    def rejected(self, record: TrialRecord) -> None:
        """Record an ended trial that had no worker; the sampler has its result already."""
        self.home.ledger.append(record)
        self._enter(record)

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Enter the ended trials of a sweep that is resumed; their events say so, and MLflow gets what it lacks of them."""
        for record in records:
            self._enter(record, is_replayed=True)

    def _enter(self, record: TrialRecord, *, is_replayed: bool = False) -> None:
        """Put the candidates of an ended trial into the front, and send the events of that."""
        self.num_ended += 1
        before, each = set(self.front), record.per_candidate()
        for one in filter(self._is_candidate, each):
            self.front.add(objectives_module.losses([one.measures], self.objectives)[0], one.trial_id)
        after, hypervolume = set(self.front), self.hypervolume
        labels = {one.trial_id: _label(one, self._is_candidate(one), one.trial_id in after) for one in each}
        self.labels |= labels
        ended = TrialEnded(
            record=record, labels=labels, front_size=len(after), hypervolume=hypervolume, is_replayed=is_replayed
        )  # fmt: skip
        self.events.send(ended)
        if after != before:
            self.labels |= dict.fromkeys(before - after, "dominated")
            self.events.send(
                FrontChanged(
                    num_ended=self.num_ended, entered=frozenset(after - before), left=frozenset(before - after),
                    size=len(after), hypervolume=hypervolume,
                )
            )  # fmt: skip
        if record.state != "infeasible":
            self.hypervolumes.append(hypervolume)

    @property
    def hypervolume(self) -> float:
        """The front's hypervolume against the objectives' reference points."""
        return self.front.hypervolume(objectives_module.reference_losses(self.objectives))

    def _is_candidate(self, record: TrialRecord) -> bool:
        return record.state == "finished" and self.limits.are_met(record.measures)

    def publish(self) -> None:
        """Write the front as CSV, PNG and HTML, and attach them to the sweep's run."""
        records = self.home.records()
        shown = [r for r in records if self.labels.get(r.trial_id) in ("front", "dominated")]
        primary = self.home.primary()
        files: dict[str, bytes | str] = {
            "front.csv": tables.csv_of(tables.front_table(shown, self.objectives)),
            "front.png": figures.front_png(shown, self.objectives, self.teacher, primary),
            "front.html": figures.front_html(shown, self.objectives, self.teacher, primary),
        }
        for name, content in files.items():
            self.home.files.put(name, content)
        self.tracker.log_artifacts([self.home.root / name for name in files])
        self.tracker.log_front(self.num_ended, self.hypervolume, len(self.front))
        self.tracker.set_note(front_card(self.home.name, tables.front_table(shown, self.objectives), self.home.measures()))
        self.tracker.flush()
        record_run_ids(self.home, self.tracker.run_ids)


def record_run_ids(home: SweepDir, run_ids: Mapping[str, str]) -> None:
    """Record MLflow's run of each trial, as far as it is not on record: MLflow makes these ids, and may be away later."""
    known = home.facts().get("run_ids", {})
    if new := {trial: run_id for trial, run_id in run_ids.items() if known.get(trial) != run_id}:
        home.update(run_ids=new)


def _label(record: TrialRecord, is_candidate: bool, is_on_front: bool) -> str:
    if record.state != "finished":
        return record.state
    if not is_candidate:
        return "infeasible"
    return "front" if is_on_front else "dominated"


def front_card(name: str, table: Any, measures: Mapping[str, Measure]) -> str:
    """Return the card, Markdown, that MLflow shows on the sweep's page: the front's measures, but for details."""
    shown = {"trial", *(measure.name for measure in measures.values() if not measure.detail)}
    columns = [column for column in table.columns if column in shown]
    rows = ["| " + " | ".join(f"{value:g}" if isinstance(value, float) else for_markdown(str(value)) for value in row) + " |"
            for row in table[columns].itertuples(index=False)]  # fmt: skip
    head = ["| " + " | ".join(map(for_markdown, columns)) + " |", "|" + "---|" * len(columns)]
    return "\n".join([f"## Front of {name}", "", *head, *rows, "", f"`tutelage select {name} --max size_bytes=20k`"])
