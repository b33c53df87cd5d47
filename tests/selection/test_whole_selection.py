"""A whole selection without a cluster: only the training of students, Ray's start and MLflow are replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.stored_sweep import learnt, write_sweep
from tutelage.dashboard.snapshot import unpacked
from tutelage.errors import InputError, NoStudentFits
from tutelage.files import content_address
from tutelage.networks import checkpoint
from tutelage.objectives import Limits
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, StageStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.selection import champions, select
from tutelage.spec import loading
from tutelage.storage import Storage
from tutelage.sweep import pipeline
from tutelage.training import inference, student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import Workers

pytestmark = pytest.mark.slow

MODELS = [{"mlp": {"hidden": hidden}} for hidden in (2, 8, 32)]
Trained = list[tuple[dict[str, Any], int]]


@pytest.fixture
def home(tmp_path: Path, taught: TrainingContext) -> SweepDir:
    """Three students on the front; a fourth is dominated."""
    found = write_sweep(tmp_path, taught, [*MODELS, {"mlp": {"hidden": 33}}])
    worst = found.records()[-1]
    found.add_measures({worst.trial_id: {"accuracy": 0.1}})
    return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, taught: TrainingContext) -> Trained:
    """What is trained again, as (config, seed). With its teacher a student has 0.80 and a thousandth a seed, without 0.70."""
    found: Trained = []

    def train(
        configs: Mapping[str, tuple[dict[str, Any], int]], context: TrainingContext, students: Storage, workers: Workers
    ) -> Iterator[tuple[str, list[dict[str, float]]]]:
        for name, (config, seed) in configs.items():
            found.append((config, seed))
            model, architecture = learnt(taught, config["student"]["model"], steps=5)
            with students.draft(name, existing="replace") as draft:
                checkpoint.write(draft, model, architecture)
            value = (0.80 if config["distillation"]["weight"] else 0.70) + seed % 1000 / 1000
            yield name, [{"accuracy": value, "elapsed_s": 1.0}]

    monkeypatch.setattr(student_jobs, "train_students", train)
    return found


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, taught: TrainingContext) -> dict[str, Any]:
    """What MLflow is given; the context is that with a teacher, and there is no cluster."""
    found: dict[str, Any] = {}
    tracker: Any = SimpleNamespace(
        log_measures=lambda trial, measures: found.setdefault("measures", {}).update({trial: measures}),
        log_selection=lambda document: found.update(selection=document), experiment_id="7",
        log_snapshot=lambda make: found.update(snapshot=unpacked(make().data)), run_ids={},
    )  # fmt: skip
    monkeypatch.setattr(select, "_tracked", lambda *_: nullcontext(tracker))
    monkeypatch.setattr(select, "cluster", lambda *_: nullcontext())
    monkeypatch.setattr(select, "context_with_teacher", lambda *_: taught)
    return found


def test_the_best_student_is_confirmed_compared_and_tested(
    home: SweepDir, trained: Trained, logged: dict[str, Any], taught: TrainingContext
) -> None:
    choice = select.select(home, policy="best-quality", confirm=2, rivals=1)
    document = choice.document
    best = document["student"]["trial"]
    record = next(one for one in home.records() if one.trial_id == best)
    assert [seed for config, seed in trained if config == record.config] == [1000, 1001], "retrained with fresh seeds"
    alone = [seed for config, seed in trained if config["distillation"]["weight"] == 0.0]
    assert alone == [0, 1000, 1001], "the baseline has the search's seed too"
    assert document["confirmed"]["distilled"]["mean"] == pytest.approx(0.8005)
    assert document["confirmed"]["label_only"]["mean"] == pytest.approx(0.7005)
    assert document["confirmed"]["gain"]["mean"] == pytest.approx(0.1)
    test = taught.read("test")
    for role, model in (("student", checkpoint.read(home.student_path(best))[0]), ("teacher", taught.teacher)):
        value = inference.measured(model, taught.built_task, test)["accuracy"]
        assert (document["test"] if role == "student" else document["test"][role])["value"] == pytest.approx(value)
    assert document["test"]["evaluations"] == 1 and document["model"] is None
    assert home.selection() == logged["selection"] == document
    assert logged["measures"][best]["confirmed_seeds"] == 2.0
    snapshot = logged["snapshot"]
    assert snapshot["id"][snapshot["is_champion"]] == best and snapshot["seeds"][snapshot["is_champion"]] == 2
    assert choice.student_dir == home.student_path(best) and choice.report_path.exists()


def test_without_fresh_seeds_the_choice_rests_on_the_search(home: SweepDir, trained: Trained, logged: dict[str, Any]) -> None:
    document = select.select(home, policy="min-size", confirm=0).document
    assert document["student"]["trial"] == "t0000" and document["confirmed"]["distilled"] is None
    assert [seed for _, seed in trained] == [0], "only the baseline is trained"


def test_limits_of_the_call_come_before_those_of_the_spec(home: SweepDir, trained: Trained, logged: dict[str, Any]) -> None:
    params = sorted(record.measures["params"] for record in home.records())
    found = select.select(home, policy="best-quality", limits=Limits(max={"params": params[0]}), confirm=0)
    assert found.document["student"]["trial"] == "t0000"
    with pytest.raises(NoStudentFits):
        select.select(home, policy="best-quality", limits=Limits(max={"params": params[0] - 1}), confirm=0)


@pytest.mark.slow
@pytest.mark.parametrize("confirm", [0, 2])
def test_the_front_is_trained_again_as_often_as_the_spec_sets(
    confirm: int, home: SweepDir, trained: Trained, taught: TrainingContext
) -> None:
    spec = home.spec()
    spec = loading.from_dict({**spec.resolved(), "search": {**spec.resolved()["search"], "confirm": confirm}})
    measured: dict[str, Any] = {}
    tracker: Any = SimpleNamespace(log_measures=measured.__setitem__)
    pipeline._confirm_front(spec, home, taught, tracker, Dispatcher())
    assert [seed for _, seed in trained] == [1000, 1001] * (3 if confirm else 0)
    models = [config["student"]["model"] for config, seed in trained if seed == 1000]
    assert sorted(model["mlp"]["hidden"] for model in models) == ([2, 8, 32] if confirm else [])
    assert set(measured) == ({"t0000", "t0001", "t0002"} if confirm else set())


def test_a_second_selection_waits_with_a_message(home: SweepDir, trained: Trained, logged: dict[str, Any]) -> None:
    """It is at work on the same sweep: two at once would train every rival twice, and the later one's choice would be lost."""
    other, said = ExitStack(), list[str]()
    other.enter_context(home.in_turn(said.append))

    def end_the_other(event: Event) -> None:
        if isinstance(event, StageStarted) and "waiting" in event.text:
            said.append(event.text)
            other.close()

    select.select(home, policy="min-size", confirm=0, observers=[end_the_other])
    assert len(said) == 1 and "is at work on sweep 'stored'; waiting for it" in said[0]


def test_a_selection_does_not_wait_for_a_search(home: SweepDir) -> None:
    home.update(state="running")
    with home.driven(), pytest.raises(InputError, match="is being driven by"):
        select.select(home)


def test_the_champion_is_looked_for_and_replaced_by_one_selection_at_a_time(
    home: SweepDir, trained: Trained, logged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a student is compared with the champion that it replaces, whoever selects beside it."""
    steps = list[str]()
    registered = {"name": "digits", "version": "1", "aliases": [], "model_uri": "models:/digits/1", "why": "", "promoted": True}

    def step(name: str) -> Any:
        def note(*_: Any) -> Any:
            held = home.storage.holder(f"registered-{content_address(name='digits')}")
            steps.append(f"{name} in turn" if held else name)
            return registered if name == "register" else None

        return note

    monkeypatch.setattr(champions, "champion", step("champion"))
    monkeypatch.setattr(champions, "register", step("register"))
    select.select(home, policy="min-size", confirm=0, register="digits")
    assert steps == ["champion", "champion in turn", "register in turn"]


@pytest.mark.parametrize("error", [InputError("the student is quantised to int8"), KeyboardInterrupt()])
def test_a_selection_whose_registration_fails_is_on_record(
    error: BaseException, home: SweepDir, trained: Trained, logged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Students were trained again and the test split was evaluated before the registry had an answer."""

    def fail(*_: Any) -> Any:
        raise error

    said = list[str]()
    monkeypatch.setattr(champions, "champion", lambda *_: None)
    monkeypatch.setattr(champions, "register", fail)
    with pytest.raises(type(error)):
        select.select(
            home, policy="min-size", confirm=0, register="digits",
            observers=[lambda event: said.append(event.text) if isinstance(event, StageStarted) else None],
        )  # fmt: skip
    kept = json.loads(home.files.local_path("selection.json").read_text())
    assert kept["student"]["trial"] == "t0000" == logged["selection"]["student"]["trial"] and kept["model"] is None
    assert "t0000 was not registered. Its selection is recorded" in said[-1]


def test_the_report_shows_where_the_selected_student_differs_from_its_teacher(
    home: SweepDir, trained: Trained, logged: dict[str, Any]
) -> None:
    choice = select.select(home, policy="min-size", confirm=0)
    found = home.examples()
    assert found is not None and found["trial"] == choice.document["student"]["trial"] and len(found["examples"]) == 12
    assert found["examples"][0]["html"] in choice.report_path.read_text(encoding="utf-8")
