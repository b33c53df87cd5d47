"""What the recorder writes for an ended trial: the ledger first, then front, labels and events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.conftest import SMALL_SPEC
from tutelage.objectives import Limits, Objective, objective
from tutelage.records import fronts, sweep_dir, sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.mlflow_listener import MlflowListener
from tutelage.records.observer import Event, FrontChanged, SweepEnded, TrialEnded, TrialPaused, TrialRetried
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.sweep.recorder import Recorder, record_run_ids

Make = Callable[..., TrialRecord]
LIMITS = Limits(min={"accuracy": 0.6})
OBJECTIVES = (objective("accuracy"), Objective(measure=objective("params").measure, reference=1000.0))


@dataclass
class Tags:
    """A tracker that keeps the tags of the trials' runs."""

    labels: dict[str, str] = field(default_factory=dict)

    def log_trial(self, record: TrialRecord, label: str, searched: Any, common: Any) -> None:
        self.labels[record.trial_id] = label

    def set_labels(self, labels: dict[str, str]) -> None:
        self.labels |= labels

    def log_front(self, *values: float) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path) -> SweepDir:
    spec = {**SMALL_SPEC, "search": {"constraints": {"min": {"accuracy": 0.6}}}}
    found = sweeps.create(tmp_path, "small", yaml.safe_dump(spec))
    found.update(objectives=[one.document() for one in OBJECTIVES], teacher={})
    return found


@pytest.fixture
def tags() -> Tags:
    return Tags()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def learnt() -> list[TrialRecord]:
    return []


@pytest.fixture
def recorder(home: SweepDir, tags: Tags, events: list[Event], learnt: list[TrialRecord]) -> Recorder:
    dispatcher = Dispatcher()
    dispatcher.attach(events.append)
    dispatcher.attach(MlflowListener(tracker=tags, searched=(), common={}))  # type: ignore[arg-type]
    return Recorder(
        home=home, objectives=OBJECTIVES, limits=LIMITS, teacher_address="t", tracker=tags, events=dispatcher,  # type: ignore[arg-type]
        learn=learnt.append, teacher={},
    )  # fmt: skip


def test_a_bound_on_the_primary_measure_keeps_students_off_the_front_and_its_tags(
    recorder: Recorder, home: SweepDir, tags: Tags, make_record: Make
) -> None:
    """The smallest student misses the bound, so the front and its hypervolume are those of the others."""
    for number, (accuracy, params) in enumerate([(0.9, 500.0), (0.5, 100.0), (0.6, 200.0), (0.7, 600.0)]):
        recorder.finished(make_record(number, accuracy=accuracy, params=params))
    assert set(recorder.front) == {"t0000", "t0002"}
    assert tags.labels == {"t0000": "front", "t0001": "infeasible", "t0002": "front", "t0003": "dominated"}
    assert recorder.labels == tags.labels
    assert [record.trial_id for record in fronts.candidates(home)] == ["t0000", "t0002", "t0003"]
    assert [record.trial_id for record in fronts.front_of(fronts.candidates(home), OBJECTIVES)] == ["t0002", "t0000"]
    assert recorder.hypervolume == pytest.approx(0.9 * 500 + 0.6 * 300)
    assert fronts.hypervolume_of(fronts.candidates(home), OBJECTIVES) == pytest.approx(recorder.hypervolume)


def test_a_student_that_another_dominates_later_leaves_the_front_and_its_tag(
    recorder: Recorder, tags: Tags, events: list[Event], make_record: Make
) -> None:
    recorder.finished(make_record(0, accuracy=0.8, params=500.0))
    recorder.finished(make_record(1, accuracy=0.9, params=400.0))
    assert tags.labels == recorder.labels == {"t0000": "dominated", "t0001": "front"}
    (_, last) = [event for event in events if isinstance(event, FrontChanged)]
    assert (last.entered, last.left, last.size, last.num_ended) == (frozenset({"t0001"}), frozenset({"t0000"}), 1, 2)


def test_finished_trials_are_learned_from_once_and_replayed_or_rejected_ones_never(
    recorder: Recorder, events: list[Event], learnt: list[TrialRecord], make_record: Make
) -> None:
    recorder.resume([make_record(0, accuracy=0.8, params=500.0)])
    recorder.rejected(make_record(1, "infeasible", params=9e9))
    recorder.returned(make_record(2, accuracy=0.7, params=100.0))
    recorder.returned(make_record(3, "paused"))
    assert [record.number for record in learnt] == [2]
    assert [event.is_replayed for event in events if isinstance(event, TrialEnded)] == [True, False, False]
    assert [record.number for record in recorder.home.ledger.read()] == [1, 2, 3], "a replayed one is in the ledger already"


def test_paused_trials_of_this_driver_and_of_an_earlier_one_are_events(
    recorder: Recorder, events: list[Event], make_record: Make
) -> None:
    recorder.returned(make_record(3, "paused"))
    recorder.resume([make_record(4, "paused"), make_record(5, accuracy=0.5, params=1.0)])
    assert [event.record.number for event in events if isinstance(event, TrialPaused)] == [3, 4]
    assert recorder.num_ended == 1
    assert [record.number for record in recorder.home.ledger.read()] == [3], "that of the earlier driver is not written again"


def test_a_retry_is_an_event(recorder: Recorder, events: list[Event]) -> None:
    recorder.retried("t0001")
    assert [event.trial_id for event in events if isinstance(event, TrialRetried)] == ["t0001"]


def test_a_plateau_is_over_trials_that_had_a_worker(recorder: Recorder, make_record: Make) -> None:
    recorder.finished(make_record(0, accuracy=0.8, params=500.0))
    recorder.rejected(make_record(1, "infeasible", params=9e9))
    recorder.finished(make_record(2, "failed", "ValueError"))
    assert recorder.hypervolumes == pytest.approx([0.8 * 500] * 2)


def test_new_and_changed_mlflow_runs_are_recorded(home: SweepDir) -> None:
    record_run_ids(home, {"t0000": "a"})
    record_run_ids(home, {"t0000": "a"})
    record_run_ids(home, {"t0000": "b", "t0001": "c"})
    assert home.facts()["run_ids"] == {"t0000": "b", "t0001": "c"}
    assert sum("run_ids" in line for line in home.files.lines(sweep_dir.EVENTS)) == 2


@pytest.mark.parametrize(("state", "status"), [("finished", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED")])
def test_the_sweeps_run_in_mlflow_ends_as_the_sweep_does(state: Any, status: str) -> None:
    ended: list[str] = []
    tracker: Any = SimpleNamespace(finish=ended.append)
    MlflowListener(tracker=tracker, searched=(), common={})(SweepEnded(sweep="small", state=state))
    assert ended == [status]
