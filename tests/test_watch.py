"""The progress of a sweep, drawn again as it goes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests.dashboard.records import Make, new_sweep, timed, trials
from tutelage import watch
from tutelage.report import json_views

pytestmark = pytest.mark.slow


def drawn(home: Any, status: dict[str, Any] | None = None) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(watch.picture(home, status or json_views.status(home), (100, 30)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_it_has_the_numbers_of_the_status(tmp_path: Path, make_record: Make) -> None:
    home = new_sweep(tmp_path)
    for record in trials(make_record):
        home.ledger.append(record)
    home.ledger.append(replace(make_record(6, "running"), started_s=1.0))
    with home.driven():
        status = json_views.status(home)
        text = drawn(home)
    assert status["running"] == [{"trial": "t0006"}]
    assert status["time_left_s"] == pytest.approx(2.5 * (status["trials"]["to_come"] + 0.5))
    assert "stored: running" in text and "3 finished" in text and "t0006" in text
    assert f"{status['front_size']} students, hypervolume {status['hypervolume']:,.6g}" in text
    assert "●" in text and "★" in text


def test_time_left_is_shared_by_the_trials_at_a_time(make_record: Make) -> None:
    ended = [timed(make_record(number, accuracy=0.5)) for number in range(3)]
    running = [make_record(number, "running") for number in range(3, 5)]
    assert json_views._time_left_s([*ended, *running], 7) == pytest.approx(2.5 * (7 + 1) / 2)
    assert json_views._time_left_s(running, 7) is None
    assert json_views._time_left_s(ended, 0) is None


def test_before_the_search_there_is_no_plot(tmp_path: Path) -> None:
    home = new_sweep(tmp_path)
    home.files.remove("events.jsonl")
    text = drawn(home)
    assert "8 to come" in text and "0 students" in text and "●" not in text


def test_without_a_terminal_only_changes_are_printed(
    tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, console, pauses = new_sweep(tmp_path), Console(file=io.StringIO(), width=100), list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            home.ledger.append(trials(make_record)[0])
        elif len(pauses) == 4:
            home.update(state="finished")

    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=pause))
    with home.driven():
        watch.watch(home, 1.0, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("stored: running") == 2 and text.count("stored: finished") == 1


@pytest.mark.parametrize(("seconds", "expected"), [(3.4, "3 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_a_duration_is_in_the_unit_that_people_use(seconds: float, expected: str) -> None:
    assert watch.duration(seconds) == expected


def test_it_fits_on_a_narrow_screen(tmp_path: Path, make_record: Make) -> None:
    home = new_sweep(tmp_path)
    for record in trials(make_record):
        home.ledger.append(record)
    for columns, rows in ((30, 16), (40, 14), (100, 30)):
        console = Console(file=io.StringIO(), width=columns)
        console.print(watch.picture(home, json_views.status(home), (columns, rows)))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert len(lines) < rows and max(map(len, lines)) <= columns


def test_a_terminal_without_its_marks_has_others(tmp_path: Path, make_record: Make) -> None:
    home = new_sweep(tmp_path)
    home.ledger.append(trials(make_record)[0])
    home.update(state="finished")
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    watch.watch(home, 1.0, Console(file=written, width=100))
    written.flush()
    assert b"stored: finished" in written.buffer.getvalue() and b"*" in written.buffer.getvalue()  # type: ignore[attr-defined]
