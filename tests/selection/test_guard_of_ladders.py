"""Ladders that were really trained under a guard, selected whole: the guard finds how much each layer loses.

Only the training of the label-only baseline, Ray's start and MLflow are replaced.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.contexts import with_plan
from tests.stored_sweep import TEACHER
from tutelage.data import Examples
from tutelage.networks import checkpoint, cost
from tutelage.non_inferiority import compare
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import Candidate, TrialRecord, candidate_id
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.spec.yaml_lines import dump
from tutelage.storage import Storage
from tutelage.training import inference, loop, sensitivity, student, student_jobs
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.ray_train import Workers

LADDER = {"rungs": 4, "recovery_epochs": 1, "spacing": "linear"}
DIGITS: dict[str, Any] = {
    "data": "digits", "student": {"model": {"mlp": {"hidden": 24, "depth": 2}}, "epochs": 10, "learning_rate": 0.01},
    "sparsity": {"amount": 0.9, "method": {"channels": {"allocation": "sensitivity"}}, "ladder": LADDER},
    "guard": {"max_drop": 0.04},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A finished sweep of one trial, its context, and the rows of validation on which shares were decided."""

    home: SweepDir
    context: TrainingContext
    decided: list[Examples]


def swept(tmp_path: Path, sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Swept:
    """Train the trial of a spec and store it as a sweep does. Nothing reads the certification half."""
    tree = {
        "name": "ladders",
        "storage": str(tmp_path / "storage"),
        "teacher": {"model": "mlp", "accept_weak": True},
        **sections,
    }
    spec, decided = loading.from_dict({**tree, "distillation": {"weight": 0.0}, "search": {"trials": 4}}), list[Examples]()
    resolved, _ = spec.space.resolve(lambda name, domain: None)
    config, bare = spec.trial_config(resolved), context_of(spec)
    own_loss = sensitivity.label_loss

    def label_loss(model: Any, plan: Any) -> float:
        decided.append(plan.deciding)
        return own_loss(model, plan)

    with monkeypatch.context() as during:
        during.setattr(TrainingContext, "certification", property(lambda self: pytest.fail("the other half was read")))
        during.setattr(sensitivity, "label_loss", label_loss)
        training = loop.Training(student.build(config, bare, 0), student.plan(config, bare, 0))
        while not training.is_done:
            training.epoch()
        points = training.finish()
    checkpoint.write(tmp_path / "teacher", points[0].model, student.architecture_of(config, bare, points[0]))
    context = with_plan(bare, tmp_path, dtype="float32")
    home = sweeps.create(Path(spec.storage), spec.name, dump(spec.resolved()))
    primary = context.built_task.measures[0].name
    objectives = (objective(primary), replace(objective("params"), reference=TEACHER["params"]))
    home.update(
        state="finished", run_id="run", objectives=[one.document() for one in objectives], fingerprint=context.fingerprint,
        teacher={**TEACHER, primary: 0.99}, measures=[one.document() for one in spec.measures.values()],
    )  # fmt: skip
    rungs = []
    for point in points:
        name = f"t0000.{point.rung}"
        checkpoint.write(home.student_path(name), point.model, student.architecture_of(config, context, point))
        measures = inference.measured(point.model, context.built_task, context.splits["validation"])
        own = student.of_rung(config, point.rung or 0).model_dump(mode="json")
        measures = {**measures, **cost.size(point.model), **cost.macs(point.model, context.signature)}
        rungs.append(Candidate(measures=measures, amount=point.amount, made=point.made, rung=point.rung, config=own))
    home.ledger.append(
        TrialRecord(
            number=0, state="finished", params={}, config=resolved, measures=rungs[-1].measures, candidates=tuple(rungs)
        )
    )
    return Swept(home=home, context=context, decided=decided)


def selected(found: Swept, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    """Return the document of a whole selection; the label-only baseline is the whole student."""

    def train(
        configs: Mapping[str, tuple[dict[str, Any], int]], context: TrainingContext, students: Storage, workers: Workers
    ) -> Iterator[tuple[str, list[dict[str, float]]]]:
        model, about = checkpoint.read(found.home.student_path("t0000.0"))
        measured = inference.measured(model, context.built_task, context.splits["validation"])
        for name, (config, _) in configs.items():
            rungs = 1 + len(config["sparsity"]["ladder"]["amounts"])
            for rung in range(rungs):
                with students.draft(candidate_id(name, rung), existing="replace") as draft:
                    checkpoint.write(draft, model, about)
            yield name, [{**measured, "elapsed_s": 1.0}] * rungs

    tracker = SimpleNamespace(
        log_measures=lambda *_: None, log_selection=lambda _: None, log_snapshot=lambda make: make(), run_ids={},
        experiment_id="7",
    )  # fmt: skip
    monkeypatch.setattr(student_jobs, "train_students", train)
    monkeypatch.setattr(select, "_tracked", lambda *_: nullcontext(tracker))
    monkeypatch.setattr(select, "cluster", lambda *_: nullcontext())
    monkeypatch.setattr(select, "context_with_teacher", lambda *_: found.context)
    document: dict[str, Any] = select.select(found.home, policy="min-size", confirm=0, **options).document
    return document


def expected_steps(found: Swept, max_drop: float) -> list[tuple[str, float]]:
    """Return the rungs and p-values up to the first above 0.05, computed from the certification half."""
    primary, task = found.context.built_task.measures[0], found.context.built_task
    rungs = [one.trial_id for one in found.home.records()]
    shown = [
        inference.contributions_of(checkpoint.read(found.home.student_path(name))[0], task, found.context.certification)
        for name in rungs
    ]
    expected = list[tuple[str, float]]()
    for name, own in zip(rungs[1:], shown[1:], strict=True):
        expected.append((name, compare(primary, shown[0][primary.name], own[primary.name], max_drop).p_value))
        if expected[-1][1] > 0.05:
            break
    return expected


@pytest.mark.slow
def test_the_guard_finds_the_share_of_each_layer_on_a_ladder_by_sensitivity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sensitivity orders the channels on one half, the ladder goes along this order, and the other half ends it."""
    found = swept(tmp_path, DIGITS, monkeypatch)
    assert found.decided and all(one is found.context.splits["validation"] or len(one) == 180 for one in found.decided)
    document = selected(found, monkeypatch)
    guard, expected = document["guard"], expected_steps(found, 0.04)
    assert [(step["trial"], pytest.approx(step["p_value"])) for step in guard["steps"]] == expected
    passed = [name for name, p_value in expected if p_value <= 0.05]
    assert 0 < len(passed) < 4, "a gentle rung passes, and the strongest does not"
    assert document["student"]["trial"] == passed[-1] and guard["is_certified"] and guard["certified"] == passed
    taken = next(one for one in found.home.records() if one.trial_id == passed[-1])
    assert "shares by sensitivity: " in taken.candidates[0].made, "the share of each layer is on record"
    widths = [layer.out_features for layer in checkpoint.read(found.home.student_path(passed[-1]))[0].modules()
              if hasattr(layer, "out_features")]  # fmt: skip
    for width in widths[:-1]:
        assert f" {width} of 24" in taken.candidates[0].made
    assert guard["n"] == len(found.context.certification) and "exact paired test" in guard["guarantee"]


def sentences(folder: Path, count: int, seed: int) -> None:
    """Write sentences of two to seven words, each with places and days as slots and an intent."""
    generator = random.Random(seed)
    kinds = {"O": ["to", "on", "please", "the"], "B-place": ["rome", "oslo", "paris"], "B-day": ["monday", "friday", "today"]}
    folder.mkdir(parents=True)
    rows = list[tuple[str, str, str]]()
    for _ in range(count):
        verb = generator.choice(["book", "ask"])
        labels = [generator.choice(list(kinds)) for _ in range(generator.randint(1, 6))]
        words = [generator.choice(kinds[label]) for label in labels]
        rows.append((" ".join([verb, *words]), " ".join(["O", *labels]), verb))
    for name, part in zip(("seq.in", "seq.out", "label"), zip(*rows, strict=True), strict=True):
        (folder / name).write_text("".join(f"{line}\n" for line in part))


@pytest.mark.slow
def test_a_measure_of_the_whole_corpus_is_certified_by_a_bootstrap_through_a_whole_selection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1 of slots is no mean over sentences: examples are drawn again, and the drop is that of the whole."""
    for split, count in (("train", 300), ("valid", 240), ("test", 60)):
        sentences(tmp_path / "words" / split, count, seed=len(split))
    model = {"text_cnn": {"embedding": 8, "width": 16, "depth": 1, "dropout": 0.0}}
    found = swept(
        tmp_path,
        {
            "data": {"slots": {"path": str(tmp_path / "words")}}, "task": "tagging",
            "teacher": {"model": model, "accept_weak": True},
            "student": {"model": model, "epochs": 10, "learning_rate": 0.02},
            "sparsity": {"amount": 0.95, "method": "magnitude", "ladder": LADDER}, "guard": {"max_drop": 0.05},
        },
        monkeypatch,
    )  # fmt: skip
    document = selected(found, monkeypatch)
    guard, expected = document["guard"], expected_steps(found, 0.05)
    assert document["measure"]["name"] == "slot_f1" and "bootstrap" in guard["test"]
    assert [(step["trial"], pytest.approx(step["p_value"])) for step in guard["steps"]] == expected
    assert all(step["disagreements"] is None for step in guard["steps"])
    passed = [name for name, p_value in expected if p_value <= 0.05]
    assert 0 < len(passed) < 4 and document["student"]["trial"] == passed[-1]
    assert "loses less than" in guard["guarantee"] and "asymptotic" in guard["guarantee"]
