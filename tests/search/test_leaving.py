"""A search ends where its storage cannot be written, and its trials stay pending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tutelage.errors import InputError, UnreachableError
from tutelage.records import sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.trial import TrialRecord
from tutelage.search.leaving import leaving, reason_of, through_tune
from tutelage.storage import StorageFailed
from tutelage.sweep import search_loop
from tutelage.sweep.recorder import Recorder

Make = Callable[..., TrialRecord]
FULL = "Traceback\n  …\nOSError: [Errno 28] No space left on device: 'student'"


def test_a_storage_error_of_a_handler_passes_except_exception() -> None:
    def handler() -> None:
        raise StorageFailed("here", "No space left on device")

    def tune() -> None:
        try:
            through_tune(handler)()
        except Exception:
            pytest.fail("Tune takes an exception for the trial's")

    with pytest.raises(StorageFailed, match="storage here cannot be written: No space left"), leaving("here"):
        tune()


def test_a_rule_of_the_users_own_that_fails_ends_the_search_and_fails_no_trial() -> None:
    def judge() -> None:
        raise InputError("stopping rule 'mine:Rule': judge fails: KeyError: 'late' (mine.py, line 3).")

    def tune() -> None:
        try:
            through_tune(judge)()
        except Exception:
            pytest.fail("Tune takes an exception for the trial's")

    with pytest.raises(InputError, match="judge fails"), leaving("here"):
        tune()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_an_error_of_tunes_own_files_is_a_storage_error(error: OSError) -> None:
    with pytest.raises(UnreachableError, match="storage here cannot be written"), leaving("here"):
        raise error


def test_other_errors_are_unchanged() -> None:
    with pytest.raises(OSError, match="Connection refused"), leaving("here"):
        raise OSError(111, "Connection refused")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FULL, "No space left on device"), ("OSError: [Errno 30] Read-only file system", "Read-only file system"),
     ("ValueError: no such class", "")],
)  # fmt: skip
def test_the_storage_error_is_found_in_a_traceback(error: str, reason: str) -> None:
    assert reason_of(error) == reason


def test_a_trial_that_could_not_write_stays_pending_and_is_trained_again(tmp_path: Path, make_record: Make) -> None:
    home = sweeps.create(tmp_path, "full", "")
    recorder = Recorder(
        home=home, objectives=(), limits=None, teacher_address="t", tracker=None, events=Dispatcher(),  # type: ignore[arg-type]
        learn=lambda record: None, teacher={},
    )  # fmt: skip
    recorder.started(make_record(0, "running"))
    with pytest.raises(StorageFailed, match="No space left on device"):
        search_loop.SearchLoop.returned(SimpleNamespace(recorder=recorder), make_record(0, "failed", FULL))  # type: ignore[arg-type]
    assert [record.number for record in home.pending()] == [0] and home.trials() == []


def test_a_result_is_written_once_a_full_disk_has_space_again(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from tutelage import storage

    home, real, failures, said = sweeps.create(tmp_path, "full", ""), os.write, [28, 28, 30], list[str]()
    recorder = Recorder(
        home=home, objectives=(), limits=None, teacher_address="t", tracker=None, events=Dispatcher(),  # type: ignore[arg-type]
        learn=lambda record: None, teacher={},
    )  # fmt: skip
    monkeypatch.setattr(recorder.events, "stage", said.append)
    monkeypatch.setattr(storage, "PAUSE_S", 0.0)

    def full(descriptor: int, content: bytes) -> int:
        if failures:
            raise OSError(failures.pop(), "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    recorder.started(make_record(0, "running"))
    assert [record.number for record in home.pending()] == [0] and len(said) == 1
    assert "No space left on device" in said[0] and "Waiting for that, 60 s at most" in said[0]
    monkeypatch.setattr(storage, "PATIENCE_S", -1.0)
    failures.append(28)
    with pytest.raises(StorageFailed):
        recorder.started(make_record(1, "running"))
