"""How the results of Ray Tune become records, rows and decisions at rungs, tested without a cluster."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search import ray_trial, ray_tune
from tutelage.search.deaths import MAX_WITHOUT_PROGRESS
from tutelage.search.ray_trial import StudentTrainable
from tutelage.search.ray_tune import Handlers, Rungs, Slots, _Callback, _Scheduler, _Searcher
from tutelage.search.rules import Decision
from tutelage.search.time_limit import TimeLimit
from tutelage.search.trial_feed import STATE, TrialFeed

SLOTS = Slots(cpus=1, gpus=0, concurrency=None, max_failures=1)


def suggestion(number: int) -> Suggestion:
    return Suggestion(number=number, config={"number": number}, params={})


def row(epoch: int, **more: float) -> dict[str, Any]:
    return {"epoch": epoch, "accuracy": 0.1 * epoch, "step_s": 0.5, **more}


class Driver:
    """A search that records what it gets, and a feed of one trial to it."""

    def __init__(self, *, decision: Decision = "continue", rungs: frozenset[int] = frozenset(), pausing: bool = False) -> None:
        self.records: list[TrialRecord] = []
        self.epochs: list[tuple[str, dict[str, Any]]] = []
        self.judged: list[int] = []
        self.left = [suggestion(3)]

        def judge(judged: Suggestion, shown: dict[str, Any]) -> Decision:
            self.judged.append(int(shown["epoch"]))
            return decision

        handlers = Handlers(
            next_suggestion=lambda: self.left.pop(0) if self.left else None, on_record=self.records.append,
            on_epoch=lambda trial, shown: self.epochs.append((trial, shown)),
        )  # fmt: skip
        self.feed = TrialFeed(handlers=handlers, rungs=Rungs(epochs=rungs, judge=judge, pausing=pausing))
        self.callback, self.scheduler = _Callback(self.feed, SLOTS), _Scheduler(self.feed)
        self.nones = 0
        self.searcher = _Searcher(self.feed, self.on_none)
        self.given = self.searcher.suggest("tune-1")

    def on_none(self) -> None:
        self.nones += 1

    def result(self, *rows: dict[str, Any], **more: Any) -> str:
        """Report rows as the actor does; return the trial's next action."""
        last = rows[-1] if rows else {}
        result = {"rows": list(rows), "done": False, "epoch": last.get("epoch", 0), "started_s": 9.0, "elapsed_s": 4.0, **more}
        self.trial: Any = tune_trial(last_result=result)
        self.callback.on_trial_result(0, [], self.trial, result)
        return self.scheduler.on_trial_result(None, self.trial, result)

    def complete(self) -> TrialRecord:
        self.callback.on_trial_complete(0, [], self.trial)
        return self.records[-1]


def test_a_finished_trial_has_its_measures_and_every_epoch_once() -> None:
    driver = Driver()
    driver.result(row(1), row(2))
    driver.result(row(2, again=1.0), row(3))  # its worker was lost after epoch 1, and it began again from there
    driver.result(row(4), done=True, measures={"accuracy": 0.4})
    record = driver.complete()
    assert (record.number, record.state, record.measures) == (3, "finished", {"accuracy": 0.4})
    assert [one["epoch"] for one in record.curve] == [1, 2, 3, 4] and record.curve[1]["again"] == 1.0
    assert (record.started_s, record.elapsed_s, record.step_s) == (9.0, 4.0, 2.0)
    assert driver.epochs == [("t0003", row(2)), ("t0003", row(3)), ("t0003", row(4))]


def test_a_trial_without_measures_was_stopped_and_one_with_an_error_failed() -> None:
    stopped, failed, lost = Driver(), Driver(), Driver()
    stopped.result(row(1))
    assert stopped.complete().state == "stopped"
    failed.result(row(1), done=True, measures={"accuracy": 0.4}, error="ValueError: no")
    assert (failed.complete().state, failed.records[0].error) == ("failed", "ValueError: no")
    lost.result(row(1))
    lost.callback.on_trial_error(0, [], lost.trial)
    assert (lost.records[0].state, lost.records[0].error) == ("failed", "t0003: its worker was lost after epoch 1")


def tune_trial(**about: Any) -> Any:
    """A trial of Tune's."""
    given = {"num_failures": 0, "max_failures": 10, "last_result": None, "error_file": None, "latest_checkpoint_result": None}
    return SimpleNamespace(trial_id="tune-1", **{**given, **about})


def died(tmp_path: Path, texts: list[str], epoch: int, kept: int) -> Any:
    """A trial whose workers were lost: with what Tune has written, and the epochs of its last result and checkpoint."""
    written = tmp_path / "error.txt"
    written.write_text("".join(f"Failure # {number} (occurred at noon)\n{text}\n" for number, text in enumerate(texts, 1)))
    return tune_trial(
        error_file=str(written), last_result={"epoch": epoch} if epoch else None,
        latest_checkpoint_result=SimpleNamespace(metrics={"epoch": kept}) if kept else None,
    )  # fmt: skip


KILLED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR, and a paragraph"
NODE = "The actor died because its node has died. Node Id: 17"


@pytest.mark.parametrize(
    ("texts", "epoch", "kept", "text"),
    [
        ([KILLED], 7, 5, "t0003: its worker was killed or has crashed after epoch 7; it continues after epoch 5"),
        ([KILLED, NODE], 7, 0, "t0003: its node was lost after epoch 7; it starts again"),
        ([NODE, "Traceback\n  File x\nValueError: no"], 0, 0, "t0003: ValueError: no in its first epoch; it starts again"),
    ],
)
def test_a_lost_worker_is_one_line_of_news(
    texts: list[str], epoch: int, kept: int, text: str, tmp_path: Path
) -> None:  # fmt: skip
    driver, news, retried, trial = Driver(), list[str](), list[str](), died(tmp_path, texts, epoch, kept)
    driver.feed.handlers = replace(driver.feed.handlers, on_news=news.append, on_retry=retried.append)
    driver.callback.on_trial_start(0, [], trial)
    driver.callback.on_trial_recover(0, [], trial)
    assert (news, retried) == ([text], ["t0003"])


def test_a_trial_that_fails_by_the_loss_of_its_workers_has_the_reason_in_its_last_line(tmp_path: Path) -> None:
    driver, trial = Driver(), died(tmp_path, [KILLED, KILLED], 7, 5)
    driver.callback.on_trial_start(0, [], trial)
    driver.callback.on_trial_recover(0, [], trial)
    driver.callback.on_trial_error(0, [], trial)
    *earlier, last = driver.records[0].error.splitlines()
    assert last == "t0003: its worker was killed or has crashed after epoch 7; it was lost 2 times without getting further"
    assert KILLED in earlier


def test_tune_prints_no_traceback_of_a_trial_and_its_other_errors(caplog: pytest.LogCaptureFixture) -> None:
    with ray_tune._quiet(2):
        assert os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] == "0"
        summary, controller = (logging.getLogger(f"ray.tune.{name}") for name in ("tune", "execution.tune_controller"))
        summary.error("Trials did not complete: %s", ["t"])
        summary.error("Experiment state snapshotting failed:")
        controller.error("Error stopping trial.")
    summary.error("Trials did not complete: %s", ["u"])
    assert [logged.getMessage() for logged in caplog.records] == [
        "Experiment state snapshotting failed:", "Error stopping trial.", "Trials did not complete: ['u']",
    ]  # fmt: skip


def test_tune_restarts_a_trial_after_a_death_unless_it_is_the_trials_own_failure() -> None:
    driver = Driver()
    driver.result(row(1))
    trial = tune_trial(last_result=driver.trial.last_result)
    driver.callback.on_trial_start(0, [], trial)
    assert trial.max_failures == 1
    trial.num_failures = 1
    driver.callback.on_trial_recover(0, [], trial)
    driver.callback.on_trial_start(0, [], trial)
    assert trial.max_failures == 1, "it has died after this epoch before"
    driver.result(row(2))
    assert trial.max_failures == 2, "it got further"


def test_a_spare_process_is_requested_after_the_first_result_and_after_each_death(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a death not before the next actor has taken the spare process that there is."""
    driver, now_s, requested = Driver(), [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    handlers = replace(driver.feed.handlers, keep_spare=lambda: requested.append(now_s[0]))
    driver.feed.handlers = handlers
    trial = tune_trial(num_failures=1)
    driver.callback.on_trial_start(0, [], trial)

    def steps(*times_s: float) -> None:
        for now_s[0] in times_s:
            driver.callback.on_step_begin(0, [])

    steps(101.0)
    driver.result(row(1))
    driver.result(row(2))
    steps(102.0, 103.0)
    driver.callback.on_trial_recover(0, [], trial)
    steps(103.0 + ray_tune.SPARE_TAKEN_S / 2, 106.0, 107.0)
    assert requested == [102.0, 106.0]


@pytest.mark.parametrize(("decision", "action"), [("continue", TrialScheduler.CONTINUE), ("stop", TrialScheduler.STOP),
                                                  ("pause", TrialScheduler.STOP)])  # fmt: skip
def test_the_stopping_rule_is_queried_once_at_each_rung(decision: Decision, action: str) -> None:
    driver = Driver(decision=decision, rungs=frozenset({2, 4}))
    assert driver.result(row(1)) == TrialScheduler.CONTINUE and driver.judged == []
    assert driver.result(row(2)) == action
    assert driver.result(row(2)) == action, "its worker was lost before it left; the decision stays"
    assert driver.result(row(4), done=True, measures={}) == TrialScheduler.CONTINUE, "it has ended"
    assert driver.judged == [2]


def test_a_paused_trial_retains_its_elapsed_time() -> None:
    driver = Driver(decision="pause", rungs=frozenset({2}), pausing=True)
    driver.result(row(1), row(2))
    paused = driver.complete()
    assert (paused.state, paused.elapsed_s) == ("paused", 4.0)
    driver.left.append(suggestion(3))
    driver.searcher.suggest("tune-2")
    driver.feed.report("tune-2", {"rows": [], "measures": {"accuracy": 0.4}, "elapsed_s": 1.5, "started_s": 20.0})
    driver.feed.close("tune-2", "")
    assert (driver.records[-1].state, driver.records[-1].elapsed_s) == ("finished", 5.5)


def test_a_search_with_paused_trials_waits_for_running_trials_before_it_ends() -> None:
    waiting, ending = Driver(pausing=True), Driver()
    assert waiting.searcher.suggest("tune-2") is None, "a trial under way may pause, and then be promoted"
    assert ending.searcher.suggest("tune-2") == Searcher.FINISHED
    assert waiting.nones == ending.nones == 1, "the gate hears that no trial is left"
    waiting.result(row(1), done=True, measures={"accuracy": 0.1})
    waiting.complete()
    assert waiting.searcher.suggest("tune-2") == Searcher.FINISHED


def test_a_trial_resumes_from_its_latest_checkpoint(tmp_path: Path) -> None:
    driver = Driver()
    driver.feed.home = tmp_path
    for number, place in enumerate(("t0003/checkpoint_0", "t0003_a/checkpoint_1", "t0003/checkpoint_1", "t00031/checkpoint_0")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / STATE).touch()
        os.utime(tmp_path / place / STATE, (100.0 + number, 100.0 + number))
    found = driver.feed.checkpoints(suggestion(3))
    assert [str(Path(path).parent.relative_to(tmp_path.resolve())) for path in found] == [
        "t0003/checkpoint_1", "t0003_a/checkpoint_1", "t0003/checkpoint_0",
    ]  # fmt: skip
    assert driver.feed.checkpoints(suggestion(4)) == []


@pytest.mark.parametrize(
    ("held", "slots", "count"),
    [
        ({"CPU": 8.0}, Slots(cpus=2, gpus=0, concurrency=None), 4), ({"CPU": 8.0}, Slots(cpus=2, gpus=0, concurrency=3), 3),
        ({"CPU": 8.0, "GPU": 1.0}, Slots(cpus=1, gpus=0.5, concurrency=None), 2),
        ({"CPU": 8.0}, Slots(cpus=1, gpus=0, concurrency=None, workers=3), 2),
        ({"CPU": 1.0}, Slots(cpus=2, gpus=0, concurrency=None), 1),
    ],
)  # fmt: skip
def test_as_many_trials_run_at_once_as_the_scarcest_resource_allows(
    held: dict[str, float], slots: Slots, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": held}])
    assert slots.count() == count


class Steps:
    """A trial of three epochs whose last row has these measures."""

    def __init__(self, measures: dict[str, float], num_epochs: int = 3) -> None:
        self.measures, self.num_epochs, self.epoch = measures, num_epochs, 0
        self.curve: list[dict[str, float]] = []

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        self.curve.append(row(self.epoch))
        is_done = self.epoch == self.num_epochs
        return {**self.curve[-1], "done": is_done, **({"measures": self.measures} if is_done else {})}

    def save(self, path: Path) -> None: ...
    def restore(self, path: Path) -> None: ...
    def close(self) -> None: ...


def trainable(trial: Steps, *, rungs: frozenset[int] = frozenset(), checkpoint_epochs: int = 0) -> StudentTrainable:
    found = object.__new__(StudentTrainable)
    found._open_trial = lambda trial_id, config: trial
    found._rungs, found._kept_at, found._checkpoint_epochs = rungs, frozenset(), checkpoint_epochs
    found._opened = None
    found.reset_config({"trial_id": "t0003", "config": {}})
    return found


def test_an_actor_reports_at_rungs_at_checkpoints_and_at_the_end() -> None:
    actor = trainable(Steps({"accuracy": 0.9}, num_epochs=7), rungs=frozenset({3}), checkpoint_epochs=2)
    handed = [[one["epoch"] for one in actor.step()["rows"]] for _ in range(5)]
    assert handed == [[1, 2], [3], [4], [5, 6], [7]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_measure_that_is_not_finite_fails_the_trial(value: float) -> None:
    result = trainable(Steps({"accuracy": value})).step()
    assert "ArithmeticError: a measure is not finite" in result["error"] and result["done"]


def test_tune_gets_the_time_limit_the_slots_and_the_number_of_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Tuner:
        def __init__(self, trainable: Any, *, tune_config: Any, run_config: Any) -> None:
            given.update(vars(tune_config), run=run_config)

        def fit(self) -> None:
            given["at_once"] = os.environ["TUNE_MAX_PENDING_TRIALS_PG"]

    gate = SimpleNamespace(remove=lambda: given.update(removed=gate))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}])
    monkeypatch.setattr(ray_tune, "Gate", lambda number: given.update(expected=number) or gate)
    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(tune, "with_parameters", lambda trainable, **parameters: given.update(parameters))
    monkeypatch.setattr(tune, "with_resources", lambda trainable, resources: given.update(resources=resources))
    driver = Driver()
    slots = Slots(cpus=2, gpus=0, concurrency=3, checkpoint_epochs=5, max_failures=7)
    rungs = Rungs(epochs=frozenset({2}), pausing=True)
    ray_tune.run(lambda *_: Steps({}), driver.feed.handlers, slots, tmp_path / "home", rungs=rungs, time_budget_s=90.0)
    assert (given["max_concurrent_trials"], given["num_samples"]) == (3, -1)
    assert 0 < given["run"].stop._ends_s - time.monotonic() <= 90.0
    assert given["reuse_actors"] and given["resources"] == {"cpu": 2, "gpu": 0} and given["at_once"] == "3"
    assert (given["rungs"], given["pausing"], given["checkpoint_epochs"]) == (frozenset({2}), True, 5)
    assert given["run"].failure_config.max_failures == MAX_WITHOUT_PROGRESS and given["run"].name == "home"
    assert given["removed"] is given["gate"] is gate and given["expected"] == 3


def test_a_clock_that_jumps_changes_neither_the_seconds_of_a_trial_nor_when_it_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.chain([10_000.0], itertools.cycle([6_400.0, 13_600.0]))  # an hour back, an hour forward
    monkeypatch.setattr(time, "time", clock.__next__)
    monkeypatch.setattr(ray_trial, "REPORT_INTERVAL_S", 60.0)
    result = trainable(Steps({})).step()
    assert len(result["rows"]) == 3, "the trial is over in less than a minute, and reports once"
    assert result["started_s"] == 10_000.0 and 0 <= result["elapsed_s"] < 60


def test_a_search_ends_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = TimeLimit(60.0)
    monkeypatch.setattr(time, "time", lambda: 1e10)
    assert not limit.stop_all() and not limit("t0000", {})
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 61.0)
    assert limit.stop_all()
