"""The sweep's records in the driver, and who is told how it goes on. Knows neither Ray nor Optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage import objectives as objectives_module
from tutelage import pareto
from tutelage.measure import Measure
from tutelage.objectives import Limits, Objective
from tutelage.records.observer import Observer
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, tables


@dataclass
class Recorder:
    """The sweep's records in the driver: every ended trial goes to the ledger, the front, MLflow and the sampler, once.

    The ledger comes first: all the others can be made again from it.
    """

    home: SweepDir
    objectives: tuple[Objective, ...]
    searched: tuple[str, ...]
    limits: Limits
    common: dict[str, str]
    tracker: Tracker
    observer: Observer
    learn: Callable[[TrialRecord], None]
    teacher: dict[str, float]
    front: pareto.Front = field(default_factory=pareto.Front)
    labels: dict[str, str] = field(default_factory=dict)
    num_ended: int = 0
    hypervolumes: list[float] = field(default_factory=list)  # after each trial that had a worker

    def started(self, record: TrialRecord) -> None:
        """Put on record that a trial is handed out, before it is."""
        self.home.ledger.append(record)

    def returned(self, record: TrialRecord) -> None:
        """Recorder a trial whose worker is free again: it has ended, or it is paused."""
        if record.state == "paused":
            self.home.ledger.append(record)
        else:
            self.finished(record)

    def finished(self, record: TrialRecord) -> None:
        """Recorder a trial that had a worker."""
        self.rejected(record)
        self.learn(record)

    def rejected(self, record: TrialRecord) -> None:
        """Recorder a trial that the sampler knows of already."""
        self.home.ledger.append(record)
        self.observer.trial(record, *self._enter(record))

    def resume(self, records: Sequence[TrialRecord]) -> None:
        """Enter the ended trials of a sweep that is resumed; MLflow is given what it lacks of them."""
        for record in records:
            self._enter(record)

    def _enter(self, record: TrialRecord) -> tuple[int, float]:
        """Put the candidates of an ended trial into the front and MLflow; return the front's size and hypervolume."""
        self.num_ended += 1
        before, each = set(self.front), record.per_candidate()
        for one in filter(self._is_candidate, each):
            self.front.add(objectives_module.losses([one.measures], self.objectives)[0], one.trial_id)
        after, hypervolume = set(self.front), self.hypervolume
        for one in each:
            self.labels[one.trial_id] = _label(one, self._is_candidate(one), one.trial_id in after)
            self.tracker.log_trial(one, self.labels[one.trial_id], self.searched, self.common)
        if after != before:
            left = dict.fromkeys(before - after, "dominated")
            self.labels |= left
            self.tracker.set_labels(left)
            self.tracker.log_front(self.num_ended, hypervolume, len(after))
        if record.state != "infeasible":
            self.hypervolumes.append(hypervolume)
        return len(after), hypervolume

    @property
    def hypervolume(self) -> float:
        """The front's hypervolume against the objectives' reference points."""
        return self.front.hypervolume(objectives_module.reference_losses(self.objectives))

    def _is_candidate(self, record: TrialRecord) -> bool:
        return record.state == "finished" and self.limits.are_met(record.measures)

    def publish(self) -> None:
        """Write the front as CSV, PNG and HTML, and attach them to the sweep's run."""
        records = self.home.records()
        paths = [self.home.root / f"front.{suffix}" for suffix in ("csv", "png", "html")]
        shown = [r for r in records if self.labels.get(r.trial_id) in ("front", "dominated")]
        tables.write_csv(tables.front_table(shown, self.objectives), paths[0])
        primary = self.home.primary()
        figures.front_png(shown, self.objectives, paths[1], self.teacher, primary)
        figures.front_html(shown, self.objectives, paths[2], self.teacher, primary)
        self.tracker.log_artifacts(paths)
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
    rows = ["| " + " | ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in row) + " |"
            for row in table[columns].itertuples(index=False)]  # fmt: skip
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([f"## Front of {name}", "", *head, *rows, "", f"`tutelage select {name} --max size_bytes=20k`"])
