"""What a sweep's search passes to Ray Tune, and its time, slots, devices and sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import SMALL_SPEC
from tutelage.errors import InputError
from tutelage.objectives import Limits, objective
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, SuggestionEnded
from tutelage.records.sweeps import create
from tutelage.records.trial import Sizes, TrialRecord
from tutelage.search import ray_tune
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import identity, search, search_loop, sizing
from tutelage.sweep.recorder import Recorder
from tutelage.training import spare_processes, student_sizes
from tutelage.training.context import TrainingContext

Make = Callable[..., TrialRecord]


def spec_with(tmp_path: Path, **changes: Any) -> Spec:
    return loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path / "storage"), **changes})


def recorder_of(spec: Spec) -> Recorder:
    home = create(Path(spec.storage), spec.name, dump(spec.resolved()))
    return Recorder(
        home=home, objectives=(objective("accuracy"), objective("params")), limits=spec.search.constraints, teacher_address="t",
        tracker=SimpleNamespace(), events=Dispatcher(), learn=lambda record: None, teacher={},  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of Ray Tune, which is not run."""
    found: dict[str, Any] = {}

    def run(open_trial: Any, handlers: Any, slots: Any, home: Path, **options: Any) -> None:
        found.update(open_trial=open_trial, handlers=handlers, slots=slots, home=home, **options)

    monkeypatch.setattr(ray_tune, "run", run)
    return found


def run(spec: Spec, context: TrainingContext, given: dict[str, Any], spent_s: float = 0.0) -> dict[str, Any]:
    loop = SimpleNamespace(recorder=recorder_of(spec), stopping=None, returned=lambda record: None, spent_s={})
    search_loop._run(spec, context, loop, lambda: None, spent_s)  # type: ignore[arg-type]
    return given


@pytest.mark.parametrize(("spent_s", "left_s"), [(0.0, 7200.0), (7000.0, 200.0), (9000.0, 1.0)])
def test_a_search_ends_after_its_hours_of_all_drivers_together(
    spent_s: float, left_s: float, tmp_path: Path, context: TrainingContext, given: dict[str, Any]
) -> None:
    spec = spec_with(tmp_path, search={"trials": None, "hours": 2})
    assert run(spec, context, given, spent_s)["time_budget_s"] == pytest.approx(left_s)


def test_without_hours_a_search_has_no_end_in_time(tmp_path: Path, context: TrainingContext, given: dict[str, Any]) -> None:
    assert run(spec_with(tmp_path), context, given)["time_budget_s"] is None


def test_slots_are_those_of_the_spec(tmp_path: Path, context: TrainingContext, given: dict[str, Any]) -> None:
    spec = spec_with(
        tmp_path, search={"trials": 8, "concurrency": 3, "checkpoint_epochs": 5}, resources={"trial": {"cpus": 2, "gpus": 0.5}}
    )
    slots = run(spec, context, given)["slots"]
    assert (slots.cpus, slots.gpus, slots.concurrency, slots.checkpoint_epochs) == (2, 0.5, 3, 5)


def test_a_search_keeps_a_spare_process(tmp_path: Path, context: TrainingContext, given: dict[str, Any]) -> None:
    assert run(spec_with(tmp_path), context, given)["handlers"].keep_spare is spare_processes.start


@pytest.mark.parametrize(
    ("changes", "is_timed"),
    [({}, False), ({"objectives": ["accuracy", "latency_ms"]}, True), ({"constraints": {"max": {"latency_ms": 9}}}, True)],
)
def test_latency_is_measured_in_the_search_where_it_decides(
    changes: dict[str, Any], is_timed: bool, tmp_path: Path, context: TrainingContext, given: dict[str, Any]
) -> None:
    spec = spec_with(tmp_path, search={"trials": 8, **changes})
    loop = SimpleNamespace(recorder=recorder_of(spec), stopping=None, returned=lambda record: None, spent_s={})
    loop.recorder.objectives = spec.search.objectives
    search_loop._run(spec, context, loop, lambda: None, 0.0)  # type: ignore[arg-type]
    assert given["open_trial"].with_latency is is_timed


@pytest.mark.parametrize(
    ("trial", "devices"),
    [({}, 1.0), ({"cpus": 3}, 3.0), ({"cpus": 3, "gpus": 0.5}, 0.5), ({"workers": 4, "cpus": 2}, 8.0)],
)
def test_device_hours_count_what_a_trial_takes(trial: dict[str, Any], devices: float, tmp_path: Path) -> None:
    spec = spec_with(
        tmp_path, resources={"trial": trial}, search={"trials": 8, "device_hours": 5, "plateau": {"trials": 7, "gain": 0.2}}
    )
    budget = search._budget(spec)
    assert budget.devices == devices and budget.device_hours == 5
    assert (budget.plateau_trials, budget.plateau_gain) == (7, 0.2)


def test_at_most_a_quarter_of_the_trials_are_seeded_suggestions(tmp_path: Path) -> None:
    assert search._most_seeded(spec_with(tmp_path, search={"trials": 24})) == 6
    assert search._most_seeded(spec_with(tmp_path, search={"trials": 2})) == 1
    assert search._most_seeded(spec_with(tmp_path, search={"trials": None, "hours": 1})) == 8


def test_sizes_are_cached_by_everything_that_determines_them() -> None:
    asked: list[dict[str, Any]] = []

    def sizes_of(config: dict[str, Any]) -> Sizes:
        asked.append(config)
        return Sizes(final={"params": float(len(asked))})

    sizes = sizing.remembering(sizes_of)
    config: dict[str, Any] = {
        "student": {"model": "mlp", "initialise": "random", "epochs": 3}, "distillation": {}, "sparsity": {"amount": 0.0}
    }  # fmt: skip
    first = sizes(config)
    assert sizes({**config, "student": {**config["student"], "epochs": 9}, "distillation": {"weight": 0.1}}) is first
    others = [
        {**config, "student": {**config["student"], "model": "convnet"}},
        {**config, "student": {**config["student"], "initialise": "teacher"}},
        {**config, "sparsity": {"amount": 0.5}},
    ]
    assert len({sizes(one).final["params"] for one in [config, *others]}) == 4


def test_a_student_that_is_certain_to_be_too_slow_has_a_latency_before_training(
    tmp_path: Path, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student_sizes, "latency_floor_ms", lambda config, context: 5.0)
    sizes = {}
    for bound in (4.0, 5.0, 6.0):
        spec = spec_with(tmp_path, search={"trials": 8, "constraints": {"max": {"latency_ms": bound}}})
        config = spec.space.resolve(lambda name, domain: domain.labels[0] if hasattr(domain, "labels") else domain.low)[0]
        sizes[bound] = sizing.presize(spec, context, config).final.get("latency_ms")
    assert sizes == {4.0: 5.0, 5.0: None, 6.0: None}


class Loop:
    """A suggester, a budget and a judge that record what they get."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def part(self, name: str) -> Any:
        return SimpleNamespace(
            learn=lambda record: self.told.append((name, record.number)),
            resume=lambda records: self.told.extend((name, record.number) for record in records),
        )


def test_suggester_judge_and_budget_learn_of_every_trial(make_record: Make) -> None:
    kept = Loop()
    loop = search_loop.SearchLoop(
        recorder=SimpleNamespace(), suggester=kept.part("suggester"), stopping=kept.part("judge"), budget=kept.part("budget")  # type: ignore[arg-type]
    )  # fmt: skip
    loop.resume([make_record(0, accuracy=0.5)])
    loop.learn(make_record(1, accuracy=0.5))
    assert sorted(kept.told) == sorted((name, number) for name in ("suggester", "judge", "budget") for number in (0, 1))


def test_a_suggestion_is_identified_by_the_address_of_its_training(tmp_path: Path, context: TrainingContext) -> None:
    spec = spec_with(tmp_path)
    recorder = recorder_of(spec)
    recorder.teacher_address = "the teacher's"
    loop = search._opened(spec, context, recorder)
    suggestion = loop.suggester.next()
    assert suggestion is not None
    assert suggestion.identity == identity.student_address(spec, context, "the teacher's", suggestion.config)
    assert [record.state for record in recorder.home.ledger.read()] == ["running"]


def test_the_seconds_of_each_suggestion_are_an_event(
    tmp_path: Path, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, events = recorder_of(spec := spec_with(tmp_path)), list[Event]()
    loop = search._opened(spec, context, recorder)
    recorder.events.attach(events.append)
    clock = iter([100.0, 100.25])
    monkeypatch.setattr(search_loop, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert loop.next_suggestion() is not None
    assert [event.elapsed_s for event in events if isinstance(event, SuggestionEnded)] == [0.25]


def test_limits_on_other_measures_than_sizes_reject_no_student_before_training(
    tmp_path: Path, context: TrainingContext
) -> None:
    spec = spec_with(tmp_path, search={"trials": 8, "constraints": {"min": {"accuracy": 2.0}}})
    assert spec.search.constraints == Limits(min={"accuracy": 2.0})
    sizing.check_constraints(spec, context)


def test_a_paused_trial_is_reported_to_the_rule_and_not_to_the_sampler(tmp_path: Path, make_record: Make) -> None:
    learned = dict[str, list[str]](suggester=[], stopping=[], budget=[])

    def named(name: str) -> Any:
        return SimpleNamespace(learn=lambda record: learned[name].append(record.state))

    recorder = recorder_of(spec_with(tmp_path))
    loop = search_loop.SearchLoop(
        recorder=recorder, suggester=named("suggester"), stopping=named("stopping"), budget=named("budget")
    )
    loop.returned(make_record(3, "paused"))
    assert learned == {"suggester": [], "stopping": ["paused"], "budget": ["paused"]}
    assert [record.number for record in recorder.home.paused()] == [3]


@pytest.mark.parametrize("num_ended", [0, 1, 2])
def test_code_of_a_users_own_that_fails_in_a_search_leaves_the_students_and_the_command_to_continue(
    num_ended: int, tmp_path: Path, context: TrainingContext, monkeypatch: pytest.MonkeyPatch, make_record: Make
) -> None:
    recorder = recorder_of(spec := spec_with(tmp_path))

    def run(*_: Any, **__: Any) -> None:
        for number in range(num_ended):
            recorder.home.ledger.append(make_record(number, accuracy=0.5))
        raise InputError("stopping rule 'mine:Rule': judge fails.")

    monkeypatch.setattr(ray_tune, "run", run)
    with pytest.raises(InputError) as caught:
        search.search(spec, context, recorder)
    kept = ["", "1 trial has ended and is kept", "2 trials have ended and are kept"][num_ended]
    way_out = f" {kept}. To continue when it is mended: {recorder.home.command('resume')}" if kept else ""
    assert str(caught.value) == f"stopping rule 'mine:Rule': judge fails.{way_out}"


def test_a_sampler_of_a_users_own_that_fails_when_a_trial_ends_is_named(tmp_path: Path, context: TrainingContext) -> None:
    spec = spec_with(tmp_path, search={"trials": 8, "sampler": "tests.wrong_plugins:HearingSampler"})
    loop = search._opened(spec, context, recorder_of(spec))
    suggestion = loop.suggester.next()
    assert suggestion is not None
    with pytest.raises(InputError, match=r"HearingSampler' fails: ZeroDivisionError: on purpose \(wrong_plugins.py"):
        loop.suggester.learn(suggestion.record("failed", error="no"))
