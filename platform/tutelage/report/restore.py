"""A sweep's run in MLflow: continued, or written again from the ledger where MLflow has lost it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from tutelage.errors import WorkFailed
from tutelage.records.live_front import LiveFront
from tutelage.records.mlflow_listener import STATUS, MlflowListener
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker, task_name
from tutelage.redaction import redact
from tutelage.report import tables
from tutelage.report.front_card import front_card


def reopen(home: SweepDir, tracker: Tracker, say: Callable[[str], None]) -> None:
    """Continue to write to the sweep's run; where MLflow has lost it, write the sweep again, with a message, from its ledger.

    What only MLflow held cannot be written again: registered models, and runs of others.
    """
    if not tracker.has_lost_run:
        tracker.reopen(home.facts()["run_id"])
        return
    say(lost_run_text(tracker))
    _write_again(home, tracker)


def lost_run_text(tracker: Tracker) -> str:
    """Return the message that MLflow has lost a sweep's run, and what is done about it."""
    return (
        f"MLflow at {redact(tracker.uri)} no longer has the run of this sweep: it is written again from the ledger. Registered "
        "models are not in the ledger; register the selected student again"
    )


def _write_again(home: SweepDir, tracker: Tracker) -> None:
    facts, kept = home.facts(), home.kept_spec()
    searched, teacher = tuple(kept.space.names()), facts["teacher"]
    common = common_params(home, teacher["address"])
    run_id = tracker.start_sweep(home.name, kept.kept(), searched, common)
    home.update(run_id=run_id, experiment_id=tracker.experiment_id)
    if "num_examples" in facts:
        tracker.log_dataset(run_id, common["data"], facts["fingerprint"], facts["num_examples"])
    measures = {name: value for name, value in teacher.items() if isinstance(value, int | float)}
    about = kept.kept()["teacher"]
    tracker.log_teacher(f"teacher {teacher['address']}", teacher["address"], about, measures, _curve(home, teacher["address"]))
    tracker.save_compare_view(searched)
    _write_trials(home, MlflowListener(tracker=tracker, searched=searched, common=common))
    _write_results(home, tracker)
    if facts.get("state") in STATUS:
        tracker.finish(STATUS[facts["state"]])


def common_params(home: SweepDir, teacher: str) -> dict[str, str]:
    """Return the params that all runs of a sweep have."""
    spec = home.kept_spec()
    return {"data": str(spec.data), "task": task_name(spec), "seed": str(spec.seed), "teacher": teacher}


def _write_trials(home: SweepDir, listener: MlflowListener) -> None:
    front = LiveFront(objectives=home.objectives(), limits=home.kept_spec().search.constraints)
    for record in home.ledger.ended():
        for event in front.enter(record, is_replayed=True):
            listener(event)


def _write_results(home: SweepDir, tracker: Tracker) -> None:
    """Attach what lies in the sweep's directory: pictures and tables of the front, the card, the selection."""
    paths = [home.files.local_path(name) for name in home.files.list() if name.startswith("front.")]
    tracker.log_artifacts(paths)
    finished = [record for record in home.records() if record.state == "finished"]
    tracker.set_note(front_card(home.name, tables.front_table(finished, home.objectives()), home.measures()))
    with suppress(WorkFailed, KeyError, TypeError):  # a damaged selection: the next `select` writes it
        if selection := home.selection():
            tracker.log_selection(selection)


def _curve(home: SweepDir, address: str) -> Sequence[Mapping[str, float]]:
    """Return the teacher's epochs; none where its description is not readable, or several teachers are one."""
    try:
        path = home.storage.local_path(f"teachers/{address}/teacher.json")
        curve: Sequence[Mapping[str, float]] = json.loads(path.read_text(encoding="utf-8"))["curve"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return curve
