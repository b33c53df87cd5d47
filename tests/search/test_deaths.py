"""Which deaths of a worker count as its trial's failure: repeated ones at the same place and without progress."""

from __future__ import annotations

from tutelage.search.deaths import MAX_WITHOUT_PROGRESS, TOGETHER_S, Deaths


def life(deaths: Deaths, trial_id: str, epochs: range | list[int], at_s: float) -> bool:
    """Let a trial start, report epochs and die; return whether its death counts as its failure."""
    deaths.started(trial_id)
    for epoch in epochs:
        deaths.reported(trial_id, epoch)
    is_failure = deaths.fails_next(trial_id)
    deaths.died(trial_id, at_s)
    return is_failure


def test_a_trial_that_dies_at_the_same_place_fails_with_checkpoints_and_without() -> None:
    resumes, begins_again = Deaths(max_failures=2), Deaths(max_failures=2)
    assert [life(resumes, "a", range(1, 5) if n == 0 else [], 100.0 * n) for n in range(3)] == [False, False, True]
    assert [life(begins_again, "a", range(1, 5), 100.0 * n) for n in range(3)] == [False, False, True]


def test_a_death_after_progress_is_no_failure_however_often_it_happens() -> None:
    deaths = Deaths(max_failures=2)
    for number in range(50):
        assert not life(deaths, "a", [number + 1], 100.0 * number)


def test_deaths_at_several_places_are_no_failure_until_there_are_many() -> None:
    deaths = Deaths(max_failures=1)
    life(deaths, "a", range(1, 9), 0.0)
    found = [life(deaths, "a", range(1, 2 + number % 3), 100.0 * number) for number in range(1, MAX_WITHOUT_PROGRESS + 1)]
    assert found == [False] * (MAX_WITHOUT_PROGRESS - 1) + [True]


def test_simultaneous_deaths_count_for_no_trial_in_any_order() -> None:
    deaths = Deaths(max_failures=1)
    for number in range(5):
        assert not life(deaths, "a", [], 100.0 * number)
        assert not life(deaths, "b", [], 100.0 * number + TOGETHER_S)
    assert not life(deaths, "a", [], 1000.0), "alone for the first time"
    assert life(deaths, "a", [], 2000.0)


def test_a_worker_that_dies_before_the_trial_starts_is_no_death_of_the_trial() -> None:
    deaths = Deaths(max_failures=1)
    for number in range(MAX_WITHOUT_PROGRESS):
        assert not deaths.fails_next("a")
        deaths.died("a", 100.0 * number)
    assert deaths.fails_next("a"), "but it is not tried for ever"
    deaths.ended("a")
    assert not deaths.fails_next("a")
