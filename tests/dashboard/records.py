"""A small sweep as its files have it, made without training, and an MLflow run with its trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.stored_sweep import TEACHER, spec_tree
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.live_front import LiveFront
from tutelage.records.mlflow_listener import MlflowListener
from tutelage.records.observer import Event
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.records.trial import Candidate, TrialRecord
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=TEACHER["params"]))
SEARCHED = ("student.model", "distillation.temperature", "sparsity.amount")
Make = Callable[..., TrialRecord]


def tree(storage: Path, **search: Any) -> dict[str, Any]:
    return {
        **spec_tree(storage), "name": "stored",
        "student": {"model": {"choice": ["mlp", "convnet"]}, "epochs": 3},
        "distillation": {"temperature": {"float": [1, 8], "log": True}}, "sparsity": {"amount": {"choice": [0.0, 0.5]}},
        "search": {"trials": 8, **search},
    }  # fmt: skip


def new_sweep(storage: Path, **search: Any) -> SweepDir:
    """Make a sweep whose search has begun, without a trial."""
    home = sweeps.create(storage, "stored", dump(from_dict(tree(storage, **search)).resolved()))
    home.update(
        state="running", run_id="run", experiment_id="1", objectives=[one.document() for one in OBJECTIVES], teacher=TEACHER,
        num_examples={"train": 1000, "validation": 400, "test": 397},
    )  # fmt: skip
    return home


def trials(make: Make) -> list[TrialRecord]:
    """Return ended trials out of order: two dominated, a ladder of three rungs, a stopped, a failed and an infeasible one."""
    big = timed(make(1, accuracy=0.9, params=9000.0, size_bytes=36000.0))
    rungs = [(0.95, 4000.0, 0.0), (0.94, 2000.0, 0.5), (0.7, 1000.0, 0.75)]
    made = tuple(
        Candidate(measures={"accuracy": share, "params": params}, amount=amount, made="whole", rung=rung)
        for rung, (share, params, amount) in enumerate(rungs)
    )
    ladder = timed(replace(make(0, accuracy=0.95, params=4000.0), candidates=made))
    return [
        big, ladder, timed(make(3, "failed", "Traceback\nValueError: no")), timed(make(2, "stopped")),
        make(4, "infeasible", params=9e9), timed(make(5, accuracy=0.5, params=1500.0)),
    ]  # fmt: skip


def timed(record: TrialRecord) -> TrialRecord:
    curve = tuple({"epoch": float(epoch), "train_loss": 1 / epoch, "accuracy": 0.3 * epoch} for epoch in (1, 2))
    return replace(record, started_s=1_000.0 + record.number, elapsed_s=2.5, curve=curve)


def events_of(records: list[TrialRecord], home: SweepDir) -> list[Event]:
    front = LiveFront(objectives=OBJECTIVES, limits=home.kept_spec().search.constraints)
    return [event for record in records for event in front.enter(record)]


def track(home: SweepDir, uri: str, records: list[TrialRecord]) -> Tracker:
    """Write a sweep and its trials to MLflow, with the run's id on record; the tracker stays open."""
    tracker = Tracker(uri, "tests", home.spool_path, home.measures())
    common = {"seed": "0"}
    home.update(
        run_id=tracker.start_sweep(home.name, home.kept_spec().kept(), SEARCHED, common), experiment_id=tracker.experiment_id
    )
    listener = MlflowListener(tracker=tracker, searched=SEARCHED, common=common)
    for event in events_of(records, home):
        listener(event)
    return tracker
