from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tutelage.records.trial import TrialRecord
from tutelage.search.budget import Budget


def test_device_hours_are_hours_times_devices(make_record: Callable[..., TrialRecord]) -> None:
    budget = Budget(device_hours=1.0, devices=2.0)
    for number in range(2):
        assert budget.why_over([]) == ""
        budget.learn(replace(make_record(number), elapsed_s=900.0))
    assert budget.spent_device_hours == 1.0
    assert budget.why_over([]) == "1 of 1 device-hours are used"


def test_the_hours_of_a_paused_trial_count_immediately_and_only_once(make_record: Callable[..., TrialRecord]) -> None:
    budget = Budget(device_hours=1.0)
    paused = replace(make_record(0), state="paused", elapsed_s=1800.0)
    budget.learn(paused)
    assert budget.spent_device_hours == 0.5
    budget.learn(replace(paused, elapsed_s=2700.0))
    budget.learn(replace(make_record(0), elapsed_s=3600.0))
    assert budget.spent_device_hours == 1.0, "a trial's seconds are those since it began"


def test_a_plateau_is_no_growth_over_the_last_trials() -> None:
    budget = Budget(plateau_trials=3, plateau_gain=0.1)
    assert budget.why_over([1.0, 1.0, 1.0]) == "", "three are not looked back over yet"
    assert budget.why_over([1.0, 1.0, 1.0, 1.09]).startswith("the hypervolume grew from 1 to 1.09 over the last 3")
    assert budget.why_over([1.0, 1.0, 1.0, 1.1]) == ""
    assert budget.why_over([0.0] * 9) == "", "without a front there is no plateau"
    assert Budget().why_over([1.0] * 99) == ""
