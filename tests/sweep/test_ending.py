"""How the end of a driver is recorded, and which records a killed driver leaves."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path

import pytest

from tutelage import signals
from tutelage.records import sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, SweepEnded
from tutelage.records.sweep_dir import SweepDir
from tutelage.sweep import beat
from tutelage.sweep.ending import ending


@pytest.fixture
def home(tmp_path: Path) -> SweepDir:
    return sweeps.create(tmp_path, "one", "")


def test_a_stop_is_recorded_as_no_failure_with_the_way_to_continue(home: SweepDir, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []
    with Dispatcher([told.append]) as events, pytest.raises(SystemExit) as caught, signals.raised(), ending(home, events):
        signal.raise_signal(signal.SIGTERM)
    command = f"tutelage resume one --storage {home.storage.uri}"
    assert home.facts()["state"] == "stopped" and caught.value.code == 143
    assert [event.state for event in told if isinstance(event, SweepEnded)] == ["stopped"]
    for words in (caplog.text, home.facts()["error"], caught.value.__notes__[0]):
        assert "stopped by SIGTERM" in words and command in words
    assert caplog.records[0].levelno == logging.WARNING


def test_a_stop_that_foreign_code_turned_into_an_error_is_recorded_as_a_stop(home: SweepDir) -> None:
    def imports() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(SystemExit), signals.raised(), ending(home, Dispatcher()):
        imports()
    assert home.facts()["state"] == "stopped"


@pytest.mark.parametrize(("error", "said"), [(ValueError("no"), "no"), (SystemExit(3), "3"), (ValueError(), "ValueError")])
def test_any_other_exception_is_recorded_as_a_failure_with_its_reason(home: SweepDir, error: BaseException, said: str) -> None:
    with pytest.raises(type(error)), ending(home, Dispatcher()):
        raise error
    assert (home.facts()["state"], home.facts()["error"]) == ("failed", said)


def test_seconds_are_summed_over_drivers_and_a_finished_extension_is_closed(home: SweepDir) -> None:
    home.update(elapsed_s=100.0, trials_before=8)
    with ending(home, Dispatcher()):
        pass
    assert home.facts()["state"] == "finished" and 100 <= home.facts()["elapsed_s"] < 101
    assert home.facts()["trials_before"] is None


def test_a_killed_driver_has_recorded_its_elapsed_time(home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "FIRST_S", 0.01)
    with beat.beating(home, lambda: {"search_s": 12.0}):
        deadline_s = time.monotonic() + 5
        while "search_s" not in home.facts():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    num_lines = len(home.files.lines("events.jsonl"))
    time.sleep(0.05)
    assert len(home.files.lines("events.jsonl")) == num_lines, "nothing is written after the block"


def test_a_month_is_recorded_in_few_lines() -> None:
    elapsed_s, num_lines = 0.0, 0
    while elapsed_s < 30 * 86400:
        elapsed_s += beat.interval_s(elapsed_s)
        num_lines += 1
    assert num_lines < 1200 and beat.interval_s(0.0) == 5.0 and beat.interval_s(3600.0) == 36.0


def test_the_message_of_a_stopped_sweep_has_the_way_to_continue(tmp_path: Path) -> None:
    home = sweeps.create(tmp_path, "mine", "")
    with pytest.raises(KeyboardInterrupt) as stopped, ending(home, Dispatcher()):
        raise KeyboardInterrupt
    (note,) = stopped.value.__notes__
    assert home.command("resume") in note and home.facts()["error"] == note
