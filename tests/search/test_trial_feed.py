"""How results become records: seconds over pauses and drivers, and the states of trials at the time limit."""

from __future__ import annotations

from typing import Any

from tutelage.records.ledger import is_trained
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.trial_feed import Handlers, Rungs, TrialFeed


def feed_of(numbers: list[int], records: list[TrialRecord], spent_s: dict[int, float]) -> TrialFeed:
    suggestions = iter([Suggestion(number=number, config={}, params={}) for number in numbers])
    handlers = Handlers(next_suggestion=lambda: next(suggestions, None), on_record=records.append, spent_s=spent_s)
    return TrialFeed(handlers=handlers, rungs=Rungs())


def result(epoch: int, elapsed_s: float, **more: Any) -> dict[str, Any]:
    return {"rows": [{"epoch": epoch, "step_s": 1.0}], "elapsed_s": elapsed_s, "started_s": 5.0, **more}


def test_seconds_add_up_over_pauses_and_drivers() -> None:
    records: list[TrialRecord] = []
    spent_s = {0: 100.0}
    feed = feed_of([0, 0], records, spent_s)
    feed.suggest("first")
    feed.report("first", result(1, 10.0))
    assert spent_s == {0: 110.0}
    feed.report("first", result(2, 20.0))
    feed.paused.add("first")
    feed.close("first", "")
    assert (records[-1].state, records[-1].elapsed_s, spent_s) == ("paused", 120.0, {0: 120.0})
    feed.suggest("second")
    feed.report("second", result(3, 7.0, measures={"accuracy": 1.0}))
    feed.close("second", "")
    assert (records[-1].state, records[-1].elapsed_s, spent_s) == ("finished", 127.0, {})


def test_at_the_time_limit_running_trials_are_stopped_and_unstarted_ones_do_not_count() -> None:
    records: list[TrialRecord] = []
    feed = feed_of([0, 1], records, {})
    feed.suggest("first")
    feed.suggest("second")
    feed.report("first", result(1, 10.0))
    feed.cut()
    assert [(one.state, one.elapsed_s, len(one.curve), is_trained(one)) for one in records] == [
        ("stopped", 10.0, 1, True), ("stopped", 0.0, 0, False),
    ]  # fmt: skip
    feed.cut()
    assert len(records) == 2


def test_a_trial_whose_worker_was_lost_before_its_first_epoch_counts_as_a_trial() -> None:
    records: list[TrialRecord] = []
    feed = feed_of([0], records, {})
    feed.suggest("first")
    feed.close("first", "the worker was lost")
    assert records[0].state == "failed" and is_trained(records[0])
