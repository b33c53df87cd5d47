"""A sweep's files as crashes and hands leave them: one message each, and what can be recovered is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.stored_sweep import TEACHER, spec_tree
from tutelage import console
from tutelage.cli import app
from tutelage.errors import InputError, TutelageError, UnreachableError, WorkFailed
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import StageStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.report import json_views
from tutelage.selection import select as selecting
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import extension, pipeline, resume, student_checks

Make = Callable[..., TrialRecord]
DAMAGE = {
    "cut": b'{"version": 3, "stud',
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00bad\n",
    "not an object": b"[]\n",
    "odd": b"{}\n",
}


@pytest.fixture
def home(tmp_path: Path, make_record: Make) -> SweepDir:
    return stored(tmp_path, "one", make_record)


def stored(storage: Path, name: str, make_record: Make) -> SweepDir:
    spec = from_dict(spec_tree(storage, name))
    home = sweeps.create(storage, name, dump(spec.resolved()))
    objectives = [objective("accuracy").document(), {**objective("params").document(), "reference": 20_000.0}]
    home.update(
        state="finished", objectives=objectives, teacher=TEACHER, fingerprint="f", run_id=f"run-{name}",
        spec=extension.address_of(spec),
    )  # fmt: skip
    for number in range(2):
        home.ledger.append(make_record(number, accuracy=0.5 + number / 10, params=9.0 + number, size_bytes=40.0, macs=8.0))
    home.files.put("selection.json", '{"student": {"trial": "t0001"}}')
    return home


def away(*_: object) -> None:
    raise UnreachableError("MLflow is away")


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["events.jsonl", "spec.yaml", "selection.json", "trials.jsonl"])
@pytest.mark.parametrize("command", ["status", "front", "report", "export", "resume", "select", "track"])
def test_commands_on_a_damaged_sweep_end_in_a_message_or_do_their_work(
    home: SweepDir, tmp_path: Path, name: str, damage: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.files.put(name, DAMAGE[damage])
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: home)
    monkeypatch.setattr(selecting, "_tracked", lambda *_: nullcontext())
    monkeypatch.setattr(console, "show_swept", lambda *_: None)
    monkeypatch.setattr(pipeline, "Tracker", away)
    monkeypatch.setattr(student_checks, "check_students", lambda *_: None)
    arguments = [command, "one", *([str(tmp_path / "out")] if command == "export" else []), "--storage", str(tmp_path)]
    code = 0
    try:
        app(arguments, standalone_mode=False)
    except TutelageError as error:
        code = error.exit_code
    assert code in (0, 1, 2, 3)


@pytest.mark.parametrize("damage", [b"", b"\xff\n", b"{broken}\n", b"[]\n", b'{"unix_time_s": 1}\n'])
def test_one_damaged_sweep_leaves_the_others_as_they_are(
    home: SweepDir, tmp_path: Path, make_record: Make, damage: bytes
) -> None:
    other = stored(tmp_path, "two", make_record)
    for name in ("events.jsonl", "trials.jsonl", "spec.yaml", "selection.json"):
        home.files.put(name, damage)
    assert sweeps.find(tmp_path, "run-two") == sweeps.find(tmp_path, "two") == other
    assert json_views.status(other)["trials"]["finished"] == 2
    with pytest.raises(InputError, match="Known: one, two"):
        sweeps.find(tmp_path, "three")
    assert sweeps.find(tmp_path, "one") == home


def test_status_counts_the_trials_of_a_sweep_whose_events_are_lost(home: SweepDir) -> None:
    home.files.put("events.jsonl", "")
    shown = json_views.status(home)
    assert shown["state"] == "interrupted" and shown["trials"]["finished"] == 2
    with pytest.raises(
        WorkFailed, match=r"'one' has no 'objectives' on record: .* `tutelage resume one --storage .*` continues it"
    ):
        home.objectives()


def test_broken_lines_are_set_aside_and_the_others_count(home: SweepDir) -> None:
    """Also those that a hand wrote, of the right form and without sense."""
    before, facts = home.ledger.read(), home.facts()
    for name, bad in (("trials.jsonl", b'{"a": 1}\n{"number": 7, "\xff": 1}\n'), ("events.jsonl", b"garbage\n")):
        path = home.files.local_path(name)
        path.write_bytes(bad + path.read_bytes())
    with pytest.raises(
        WorkFailed, match=r"trials\.jsonl:\d: not a line .* `tutelage resume one --storage .*` sets broken lines aside"
    ):
        home.ledger.read()
    said: list[str] = []
    with Dispatcher([lambda event: said.append(event.text) if isinstance(event, StageStarted) else None]) as events:
        resume._repair(home, events)
    assert home.ledger.read() == before and home.facts() == facts
    assert home.files.local_path("trials.jsonl.damaged").read_bytes().count(b"\n") == 2
    assert len(said) == 2 and "trials.jsonl had 2 broken lines" in said[1]
    assert home.set_aside_broken() == {}


def test_a_damaged_spec_is_replaced_by_the_same_and_by_no_other(home: SweepDir, tmp_path: Path) -> None:
    tree = spec_tree(tmp_path, "one")
    home.files.put("spec.yaml", "name: one\nstu")
    with pytest.raises(WorkFailed, match=r"spec of sweep 'one' is damaged .* tutelage resume one --storage .* --spec FILE"):
        resume._before(home, None)
    more = from_dict({**tree, "storage": "elsewhere", "search": {"trials": 40}})
    assert resume._before(home, more) == more
    with pytest.raises(InputError, match="not the one with which it was started"):
        resume._before(home, from_dict({**tree, "student": {"model": "mlp", "epochs": 2}}))


def test_an_emptied_ledger_does_not_make_a_sweep_with_students_abandoned(home: SweepDir, tmp_path: Path) -> None:
    home.update(state="stopped")
    home.files.put("trials.jsonl", "")
    home.files.put("students/t0000/architecture.json", "{}")
    with pytest.raises(InputError, match="exists"):
        sweeps.check_free(tmp_path, "one")
    home.files.remove("students")
    sweeps.check_free(tmp_path, "one")
