"""The guard of a stored sweep: which candidates are tested on the certification half, how often, and what is taken."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.contexts import with_plan
from tests.stored_sweep import TEACHER, learnt, spec_tree
from tutelage.errors import InputError, NoStudentFits
from tutelage.networks import checkpoint, cost
from tutelage.objectives import Limits, objective
from tutelage.records import sweeps
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import Candidate, TrialRecord
from tutelage.report import selection_sections
from tutelage.selection.guard import Guard, amount_of
from tutelage.selection.picking import Picked, Picker
from tutelage.selection.query import SelectionQuery
from tutelage.selection.retrain import Retraining
from tutelage.spec.guard import GuardConfig
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump
from tutelage.training import inference
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.ray_train import Workers

pytestmark = pytest.mark.slow

GUARD = {"max_drop": 0.05}
LADDER = ((0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (0.6, 9.0))  # amount, and deviation of noise in the weights: the last is broken


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> TrainingContext:
    """Digits with a guard, taught by a perceptron that has learnt them."""
    home = tmp_path_factory.mktemp("knowledge")
    bare = context_of(from_dict({**spec_tree(home), "guard": GUARD}))
    model, about = learnt(bare, {"mlp": {"hidden": 64}})
    checkpoint.write(home / "teacher", model, about)
    return with_plan(bare, home, dtype="float32")


def candidate(home: SweepDir, room: TrainingContext, name: str, model: nn.Module, about: Any, amount: float) -> Candidate:
    checkpoint.write(home.student_path(name), model, about)
    accuracy = inference.measured(model, room.built_task, room.splits["validation"])["accuracy"]
    sizes = {**cost.size(model), **cost.macs(model, room.signature)}
    return Candidate(
        measures={
            "accuracy": accuracy - amount / 100,
            **sizes,
            "params": 5000.0 * (1 - amount),
            "size_bytes": 2e4 * (1 - amount),
        },
        amount=amount,
        made="test",
    )


@pytest.fixture
def home(tmp_path: Path, guarded: TrainingContext) -> SweepDir:
    """A sweep of two trials: t0000 gave a ladder, t0001 another whose first rung is broken."""
    found = sweeps.create(tmp_path, "stored", dump(from_dict({**spec_tree(tmp_path), "guard": GUARD}).resolved()))
    objectives = (objective("accuracy"), replace(objective("params"), reference=TEACHER["params"]))
    found.update(
        state="finished", run_id="run", objectives=[one.document() for one in objectives], teacher=TEACHER,
        fingerprint=guarded.fingerprint,
    )  # fmt: skip
    for number, ladder in enumerate((LADDER, ((0.0, 0.0), (0.5, 9.0)))):
        model, about = learnt(guarded, {"mlp": {"hidden": 48}})
        rungs = []
        for index, (amount, noise) in enumerate(ladder):
            rung = copy.deepcopy(model)
            with torch.no_grad():
                for weight in rung.parameters():
                    weight += noise * torch.randn_like(weight)
            rungs.append(candidate(found, guarded, f"t000{number}.{index}", rung, about, amount))
        found.ledger.append(
            TrialRecord(
                number=number,
                state="finished",
                params={},
                measures=rungs[0].measures,
                candidates=tuple(rungs),
                config={"student": {"model": "mlp"}, "distillation": {"weight": 0.5}, "sparsity": {"amount": 0.6}},
            )
        )
    return found


def pick(
    home: SweepDir, room: TrainingContext, policy: str = "best-quality", limits: Limits | None = None, again: bool = False,
    **config: Any,
) -> tuple[Picked, dict[str, Any]]:  # fmt: skip
    query = SelectionQuery(
        policy=policy, limits=limits or Limits(), objectives=home.objectives(), primary=home.primary(), teacher=TEACHER
    )
    retraining = Retraining(home=home, context=room, workers=Workers(workers=0, cpus=1.0, gpus=0.0), num_seeds=0)
    picker = Picker(query=query, retraining=retraining, rivals=6, events=Dispatcher())
    settings = GuardConfig(**{**GUARD, **config})
    return Guard(home=home, context=room, config=settings, again=again, events=Dispatcher()).pick(picker)


def opened(home: SweepDir) -> Sequence[dict[str, Any]]:
    found: list[dict[str, Any]] = home.facts().get("certifications", [])
    return found


def test_the_strongest_certified_candidate_of_the_picked_trial_is_taken(home: SweepDir, guarded: TrainingContext) -> None:
    picked, document = pick(home, guarded)
    assert picked.record.trial_id == "t0000.2" and picked.runner_up is not None
    assert [(step["trial"], step["passed"]) for step in document["steps"]] == [
        ("t0000.1", True), ("t0000.2", True), ("t0000.3", False),
    ]  # fmt: skip
    assert document["n"] == len(guarded.certification) and document["against"] == "t0000.0" and document["is_certified"]
    assert "t0000.2 loses less than 5.00 points of accuracy against the dense student t0000.0" in document["guarantee"]
    assert "The guard takes t0000.2" in picked.reason
    reference, own = (
        inference.contributions_of(
            checkpoint.read(home.student_path(name))[0], guarded.built_task, guarded.certification
        )["accuracy"]
        for name in ("t0000.0", "t0000.3")
    )  # fmt: skip
    last = document["steps"][-1]
    assert last["lost"] == int(((reference > 0) & (own == 0)).sum()) and last["drop"] == pytest.approx(
        float((reference - own).mean())
    )
    page = selection_sections._guarded(document, home.primary())
    assert "The guard" in page and "t0000.3" in page and "not tested" not in page


def test_the_same_chain_is_not_tested_twice_and_another_is_an_error(home: SweepDir, guarded: TrainingContext) -> None:
    _, first = pick(home, guarded)
    assert pick(home, guarded, limits=Limits(max={"params": 4600.0}))[1]["steps"] == first["steps"]
    assert len(opened(home)) == 1
    other = Limits(max={"params": 2600.0})
    with pytest.raises(InputError, match=r"was already used to test t0000\.1, t0000\.2, t0000\.3\. .* --again"):
        pick(home, guarded, policy="min-size", limits=Limits(max={"params": 2600.0}, min={"params": 2400.0}))
    assert len(opened(home)) == 1
    with pytest.raises(NoStudentFits, match=r"the guard certifies t0001\.0 of t0001, and none of these meets the limits"):
        pick(home, guarded, policy="min-size", limits=replace(other, min={"params": 2400.0}), again=True)
    assert [one["result"]["test_confidence"] for one in opened(home)] == [0.95, pytest.approx(1 - 0.05 / (3 * 2))]


def test_the_dense_student_is_selected_where_no_candidate_passes(home: SweepDir, guarded: TrainingContext) -> None:
    picked, document = pick(home, guarded, policy="min-size", limits=Limits(max={"params": 5000.0}), max_drop=1e-4)
    assert picked.record.trial_id == "t0000.0" and not document["is_certified"]
    assert document["certified"] == [] and document["guarantee"].startswith("t0000.0 is selected")
    assert document["untested"] == ["t0000.2", "t0000.3"]


def test_limits_choose_among_the_certified(home: SweepDir, guarded: TrainingContext) -> None:
    with pytest.raises(NoStudentFits, match=r"the guard certifies t0000\.0, t0000\.1, t0000\.2 of t0000, and none"):
        pick(home, guarded, policy="min-size", limits=Limits(max={"params": 2000.0}))
    assert pick(home, guarded, limits=Limits(min={"params": 4400.0}))[0].record.trial_id == "t0000.1"


@pytest.mark.slow
@pytest.mark.parametrize("against", ["best", "teacher"])
def test_the_front_is_tested_once_for_every_policy(against: str, home: SweepDir, guarded: TrainingContext) -> None:
    small, document = pick(home, guarded, policy="min-size", against=against)
    assert small.record.trial_id == "t0000.2" and document["is_certified"]
    assert document["steps"][-1]["trial"] in ("t0000.3", "t0001.1") and not document["steps"][-1]["passed"]
    best, again = pick(home, guarded, against=against)
    assert again["steps"] == document["steps"] and len(opened(home)) == 1
    assert best.record.measures["accuracy"] >= small.record.measures["accuracy"]
    assert document["against"] == ("teacher" if against == "teacher" else best.record.trial_id)


@pytest.mark.slow
def test_an_error_on_limits_that_no_student_meets_counts_the_certified_ones(home: SweepDir, guarded: TrainingContext) -> None:
    with pytest.raises(
        NoStudentFits, match=r"of the students that the guard certifies: none of 4 students meets params ≤ 2000"
    ):
        pick(home, guarded, policy="min-size", against="best", limits=Limits(max={"params": 2000.0}))


def test_no_certified_student_against_the_teacher_is_no_student(home: SweepDir, guarded: TrainingContext) -> None:
    with pytest.raises(
        NoStudentFits, match=r"against the teacher, no other student is certified to lose less than 0\.01 points"
    ):
        pick(home, guarded, against="teacher", max_drop=1e-4)


def test_a_trial_of_one_student_is_compared_over_the_front_and_a_dense_one_not_at_all(
    home: SweepDir, guarded: TrainingContext
) -> None:
    model, about = learnt(guarded, {"mlp": {"hidden": 48}})
    one = candidate(home, guarded, "t0002", model, about, 0.0)
    config = {"student": {"model": "mlp"}, "distillation": {"weight": 0.5}, "sparsity": {"amount": 0.0}}
    record = TrialRecord(
        number=2, state="finished", params={}, measures={**one.measures, "params": 10.0, "size_bytes": 40.0}, config=config
    )  # fmt: skip
    home.ledger.append(record)
    picked, document = pick(home, guarded, policy="min-size")
    assert picked.record.trial_id == "t0002" and "nothing was removed from t0002" in document["guarantee"]
    assert opened(home) == [] and amount_of(record) == 0.0
    home.ledger.append(
        replace(
            record,
            number=3,
            measures={**record.measures, "params": 9.0, "size_bytes": 36.0, "accuracy": one.measures["accuracy"] - 0.001},
            config={**config, "sparsity": {"amount": 0.5}},
        )
    )
    checkpoint.write(home.student_path("t0003"), model, about)
    picked, document = pick(home, guarded, policy="min-size")
    assert picked.record.trial_id == "t0003" and document["against"] == "t0002"
    assert [(step["trial"], step["passed"]) for step in document["steps"]] == [("t0003", True)]


def test_nothing_reads_the_certification_half_before_a_chain_is_tested(
    home: SweepDir, guarded: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another decision half's labels the chain may be another; with other labels to certify it is the same."""
    from tutelage.data import Examples

    read: list[int] = []
    whole = guarded.certification

    def counted(self: TrainingContext) -> Examples:
        read.append(1)
        return whole

    monkeypatch.setattr(TrainingContext, "certification", property(counted))
    room = replace(guarded)
    chain = Guard(
        home=home, context=room, config=GuardConfig(**{**GUARD, "against": "best"}), again=False, events=Dispatcher()
    )._front_chain("best")
    assert chain.trials and read == []
