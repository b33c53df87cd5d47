"""Ray Tune with real actors: failures, lost workers, resumption, order of records."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.error import TuneError

from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search import ray_tune
from tutelage.search.rules import Decision
from tutelage.search.trial_feed import STATE
from tutelage.training import ray_messages

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


class Counting:
    """A trial that counts to `epochs`, and fails as its config says."""

    def __init__(self, trial_id: str, config: dict[str, Any]) -> None:
        self.trial_id, self.config, self.epoch = trial_id, config, 0
        self.curve: list[dict[str, float]] = []
        if "opened" in config:
            with Path(config["opened"]).open("a") as file:
                file.write("once ")
            raise ValueError("this student cannot be built")

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        time.sleep(self.config.get("epoch_s", 0.0))
        self._misbehave()
        row: dict[str, Any] = {"epoch": self.epoch, "train_loss": 1 / self.epoch, "accuracy": 0.5, "step_s": 0.001}
        self.curve.append({**row})
        row["done"] = self.epoch == self.config["epochs"]
        if row["done"]:
            if self.config.get("tells_all"):
                row["curve"] = self.curve
            row["measures"] = {"accuracy": self.config.get("accuracy", 0.5), "params": float(os.getpid())}
        return row

    def _misbehave(self) -> None:
        if self.config.get("raises_at") == self.epoch:
            raise RuntimeError("this student cannot learn")
        lost = self.config.get("killed_at")
        if lost == self.epoch or self.epoch in self.config.get("killed_at_each", ()):
            marker = Path(f"{self.config['marker']}{'' if lost else self.epoch}")
            if not marker.exists():
                marker.write_text("once")
                os.kill(os.getpid(), signal.SIGKILL)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.curve))

    def restore(self, path: Path) -> None:
        self.curve = json.loads(path.read_text())
        self.epoch = len(self.curve)

    def close(self) -> None:
        pass


def run(
    tmp_path: Path, configs: list[dict[str, Any]], rungs: ray_tune.Rungs | None = None,
    on_news: Callable[[str], None] = print, **slots: Any,
) -> dict[str, TrialRecord]:  # fmt: skip
    numbers = itertools.count()
    suggestions = iter(
        [Suggestion(number=next(numbers), config=config, params={"epochs": config["epochs"]}) for config in configs]
    )
    records: list[TrialRecord] = []
    time_budget_s = slots.pop("time_budget_s", None)
    settings = ray_tune.Slots(**{"cpus": 1, "gpus": 0, "concurrency": None, **slots})

    handlers = ray_tune.Handlers(next_suggestion=lambda: next(suggestions, None), on_record=records.append, on_news=on_news)
    with ray_messages.on_stderr():
        ray_tune.run(Counting, handlers, settings, tmp_path / "run", rungs=rungs, time_budget_s=time_budget_s)
    assert len({record.trial_id for record in records}) == len(records), "each trial ends once"
    return {record.trial_id: record for record in records}


def test_a_student_that_raises_or_is_not_finite_fails_without_the_others(tmp_path: Path) -> None:
    records = run(
        tmp_path,
        [
            {"epochs": 3},
            {"epochs": 3, "raises_at": 2},
            {"epochs": 2, "accuracy": float("nan")},
            {"epochs": 4},
            {"epochs": 1},
        ],
    )
    assert {key: record.state for key, record in records.items()} == {
        "t0000": "finished", "t0001": "failed", "t0002": "failed", "t0003": "finished", "t0004": "finished",
    }  # fmt: skip
    assert "RuntimeError: this student cannot learn" in records["t0001"].error
    assert "Traceback" in records["t0001"].error
    assert "not finite" in records["t0002"].error
    assert [len(records[f"t000{i}"].curve) for i in (0, 3, 4)] == [3, 4, 1]
    assert [row["epoch"] for row in records["t0003"].curve] == [1, 2, 3, 4]
    assert records["t0003"].step_s == pytest.approx(0.004)
    processes = {record.measures["params"] for record in records.values() if record.state == "finished"}
    assert len(processes) <= 2, "actors are reused, and a student's exception does not cost its actor"


@pytest.mark.parametrize(("checkpoint_epochs", "started_at"), [(1, 4), (0, 1)])
def test_a_lost_worker_loses_no_trial(
    tmp_path: Path, checkpoint_epochs: int, started_at: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """With checkpoints the trial continues from the last one; without, it restarts. Either way it ends once, complete.

    The user reads one line about it, and nothing of Ray's.
    """
    config, news = {"epochs": 6, "killed_at": 4, "marker": str(tmp_path / "killed")}, list[str]()
    records = run(tmp_path, [config, {"epochs": 2}], checkpoint_epochs=checkpoint_epochs, on_news=news.append)
    after, place = ("after epoch 3", "continues after epoch 3") if checkpoint_epochs else ("in its first epoch", "starts again")
    assert [text for text in news if "could start" not in text] == [
        f"t0000: its worker was killed or has crashed {after}; it {place}"
    ]
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "killed").exists()
    assert {record.state for record in records.values()} == {"finished"}
    assert [row["epoch"] for row in records["t0000"].curve][-1] == 6
    assert started_at in [row["epoch"] for row in records["t0000"].curve]


def test_a_worker_that_is_lost_for_good_is_a_failed_trial(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = {"epochs": 3, "killed_at": 1, "marker": str(tmp_path / "killed")}
    records = run(tmp_path, [config, {"epochs": 2}], on_news=list[str]().append, max_failures=0, concurrency=1)
    assert records["t0000"].state == "failed"
    assert records["t0001"].state == "finished"
    assert records["t0000"].error.splitlines()[-1] == "t0000: its worker was killed or has crashed in its first epoch"
    assert capfd.readouterr() == ("", "")


def test_deaths_after_progress_are_no_failure(tmp_path: Path) -> None:
    config = {"epochs": 5, "killed_at_each": [2, 3, 4], "marker": str(tmp_path / "killed")}
    records = run(tmp_path, [config], checkpoint_epochs=1, max_failures=1)
    assert len(list(tmp_path.glob("killed*"))) == 3
    assert records["t0000"].state == "finished" and [row["epoch"] for row in records["t0000"].curve] == [1, 2, 3, 4, 5]


def test_a_running_trial_is_stopped_at_the_time_limit_and_a_single_trial_starts_at_once(tmp_path: Path) -> None:
    records = run(tmp_path, [{"epochs": 10_000, "epoch_s": 0.1}], time_budget_s=17.0)
    assert records["t0000"].state == "stopped" and records["t0000"].elapsed_s > 0
    assert records["t0000"].curve, "the gate would have held it for 20 s"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_in_the_driver_leaves_no_actor_in_the_callers_session(
    tmp_path: Path, error: type[BaseException]
) -> None:  # fmt: skip
    def living() -> set[str]:
        return {name for name, actor in ray._private.state.actors().items() if actor["State"] != "DEAD"}

    def fail(trial_id: str, row: dict[str, Any]) -> None:
        raise error("stop")

    before, configs = living(), iter([{"epochs": 10_000, "epoch_s": 0.05}] * 4)
    handlers = ray_tune.Handlers(
        next_suggestion=lambda: next((Suggestion(number=0, config=config, params={}) for config in configs), None),
        on_record=lambda record: None, on_epoch=fail,
    )  # fmt: skip
    with pytest.raises((error, TuneError)) as caught:
        ray_tune.run(Counting, handlers, ray_tune.Slots(cpus=1, gpus=0, concurrency=None), tmp_path / "run")
    deadline_s = time.monotonic() + 60
    while living() - before or ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < deadline_s, (living() - before, ray.available_resources())
        time.sleep(0.2)
    assert "stop" in str(caught.value), "the traceback is held, as a notebook does"


def test_a_trial_is_stopped_at_its_rung_and_the_rule_is_queried_once_a_trial(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def judge(suggestion: Suggestion, row: dict[str, Any]) -> Decision:
        asked.append((suggestion.number, row["epoch"]))
        return "continue" if suggestion.config["epochs"] < 50 or row["epoch"] < 9 else "stop"

    lost = {"epochs": 40, "killed_at": 5, "marker": str(tmp_path / "killed")}
    configs = [{"epochs": 60}, lost, {"epochs": 5, "tells_all": True}, {"epochs": 70, "raises_at": 4}]
    records = run(tmp_path, configs, ray_tune.Rungs(epochs=frozenset({3, 9, 27}), judge=judge))
    assert [records[f"t000{i}"].state for i in range(4)] == ["stopped", "finished", "finished", "failed"]
    assert [len(records[f"t000{i}"].curve) for i in range(4)] == [9, 40, 5, 3]
    assert sorted(asked) == [(0, 3), (0, 9), (1, 3), (1, 9), (1, 27), (2, 3), (3, 3)]
    assert records["t0000"].measures == {}, "what was stopped can never enter the front"


@pytest.mark.parametrize("checkpoint_epochs", [0, 2])
def test_checkpoints_are_those_requested_and_an_unreadable_one_is_tried_once(tmp_path: Path, checkpoint_epochs: int) -> None:
    configs = [{"epochs": 5}, {"epochs": 5, "opened": str(tmp_path / "opened")}]
    records = run(tmp_path, configs, checkpoint_epochs=checkpoint_epochs, concurrency=1)
    assert [records[f"t000{i}"].state for i in range(2)] == ["finished", "failed"]
    assert "this student cannot be built" in records["t0001"].error
    assert (tmp_path / "opened").read_text() == "once "
    assert bool(list((tmp_path / "run").rglob(STATE))) is (checkpoint_epochs > 0)


def test_a_trial_resumes_from_an_earlier_drivers_last_complete_checkpoint(tmp_path: Path) -> None:
    left = tmp_path / "run" / "t0000"
    for number, content in enumerate(['[{"epoch": 1}, ', json.dumps([{"epoch": e, "train_loss": 9.0, "accuracy": 0.1,
        "step_s": 5.0} for e in (1, 2)]), "{"]):  # fmt: skip
        (left / f"checkpoint_{number:06d}").mkdir(parents=True)
        (left / f"checkpoint_{number:06d}" / STATE).write_text(content)
    records = run(tmp_path, [{"epochs": 4}, {"epochs": 2}], concurrency=1)
    curve = records["t0000"].curve
    assert [row["epoch"] for row in curve] == [1, 2, 3, 4]
    assert [row["step_s"] for row in curve] == [5.0, 5.0, 0.001, 0.001], "two epochs were not trained again"
    assert [row["step_s"] for row in records["t0001"].curve] == [0.001, 0.001]


def test_a_paused_trial_frees_its_worker_and_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """Three pause after two epochs; the first and the last resume when no new one is left and finish, the last by way
    of another rung: so its state is kept twice."""
    records: list[TrialRecord] = []
    new = [Suggestion(number=n, config={"epochs": 5, "accuracy": n / 10}, params={}) for n in range(3)]
    back, returned = [new[2], new[0], new[2]], Counter[int]()
    lost = {"epochs": 6, "killed_at": 4, "marker": str(tmp_path / "killed")}
    new.append(Suggestion(number=3, config=lost, params={}))

    def next_suggestion() -> Suggestion | None:
        if new:
            return new.pop(0)
        times_paused = Counter(record.number for record in records if record.state == "paused")
        if not back or times_paused[back[0].number] == returned[back[0].number]:
            return None
        returned[back[0].number] += 1
        return back.pop(0)

    def judge(suggestion: Suggestion, row: dict[str, Any]) -> Decision:
        return (
            "pause"
            if (row["epoch"] == 2 and suggestion.number < 3) or (row["epoch"] == 4 and suggestion.number == 2)
            else "continue"
        )

    rungs = ray_tune.Rungs(epochs=frozenset({2, 4}), judge=judge, pausing=True)
    slots = ray_tune.Slots(cpus=1, gpus=0, concurrency=None)
    handlers = ray_tune.Handlers(next_suggestion=next_suggestion, on_record=records.append)
    ray_tune.run(Counting, handlers, slots, tmp_path / "run", rungs=rungs)
    states = {n: [r.state for r in records if r.number == n] for n in range(4)}
    assert states == {0: ["paused", "finished"], 1: ["paused"], 2: ["paused", "paused", "finished"], 3: ["finished"]}
    for record in records:
        epochs = len(record.curve) if record.state == "paused" else 5 if record.number < 3 else 6
        assert record.state != "paused" or epochs in (2, 4)
        assert [row["epoch"] for row in record.curve] == list(range(1, epochs + 1))
        assert record.step_s == pytest.approx(0.001 * epochs), "no epoch was trained again"
    ended = {record.number: record for record in records}
    assert ended[2].measures["accuracy"] == 0.2 and ended[1].measures == {}
    assert ended[0].elapsed_s >= next(record for record in records if record.number == 0).elapsed_s
