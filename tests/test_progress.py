"""What is printed of a sweep's events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tutelage import plugins
from tutelage.progress import Progress
from tutelage.records.observer import EpochEnded, StageStarted, SweepStarted, TrialEnded
from tutelage.records.trial import TrialRecord

Make = Callable[..., TrialRecord]


def ended(record: TrialRecord, **more: Any) -> TrialEnded:
    return TrialEnded(record=record, labels={}, front_size=2, hypervolume=0.5, **more)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def printed(*events: Any) -> list[str]:
        with Progress() as progress:
            progress(SweepStarted(sweep="small", num_trials=8, primary=plugins.measure("accuracy")))
            for event in events:
                progress(event)
        out, err = capsys.readouterr()
        assert out == "", "stdout has the result alone"
        return err.splitlines()

    return printed


def test_a_stage_and_an_ended_trial_have_a_line_each(lines: Callable[..., list[str]], make_record: Make) -> None:
    curve = ({"epoch": 1.0, "accuracy": 0.25}, {"epoch": 2.0, "accuracy": 0.5})
    found = lines(
        StageStarted(text="searching 8 students"), EpochEnded(trial_id="t0000", row={"epoch": 1}),
        ended(make_record(0, accuracy=0.75, params=1200.0)), ended(make_record(1, "failed", "Traceback\nValueError: no")),
        ended(replace(make_record(2, "stopped"), curve=curve)),
    )  # fmt: skip
    assert [line.partition("] ")[2] for line in found] == [
        "searching 8 students", "t0000 finished   accuracy 0.7500, 1,200 parameters  front of 2, hypervolume 0.5",
        "t0001 failed     ValueError: no  front of 2, hypervolume 0.5",
        "t0002 stopped    after 2 epochs, at accuracy 0.5000  front of 2, hypervolume 0.5",
    ]  # fmt: skip


def test_trials_that_had_ended_before_a_resumption_are_not_printed_again(
    lines: Callable[..., list[str]], make_record: Make
) -> None:
    assert lines(ended(make_record(0, accuracy=0.75), is_replayed=True)) == []


def test_a_clock_that_is_set_back_does_not_change_the_seconds_of_a_line(
    lines: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", iter(range(7200, 0, -3600)).__next__)
    assert lines(StageStarted(text="one"), StageStarted(text="two")) == ["[   0.0 s] one", "[   0.0 s] two"]
