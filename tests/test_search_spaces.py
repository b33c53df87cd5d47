"""Every ready spec is loaded, sampled and built, over tiny data of the kind it is for."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage import plugins
from tutelage.networks import checkpoint
from tutelage.spec import loading, spec
from tutelage.spec.domains import any_value
from tutelage.sweep import dry_run, pair_checks
from tutelage.tasks import by_sequence
from tutelage.training import student, student_sizes
from tutelage.training.context import context_of

HOME = Path(__file__).parent.parent / "search_spaces"
SPECS = sorted(path.stem for path in HOME.glob("*.yaml"))


def tiny(reference: Any, key: str, folder: Path) -> list[str]:
    """Return the overrides that put tiny data of the same source in the place of a spec's own."""
    name, _ = plugins.parse_reference(reference)
    folder.mkdir()
    options = importlib.import_module(f"tests.data.test_{name}").example(folder)
    return [f"{key}.{name}.{option}={value}" for option, value in options.items()]


@pytest.fixture(params=SPECS)
def ready(request: pytest.FixtureRequest, tmp_path: Path) -> spec.Spec:
    """A ready spec, over tiny data."""
    path = HOME / f"{request.param}.yaml"
    asked = loading.load(path)
    overrides = tiny(asked.data, "data", tmp_path / "data") if asked.data != "digits" else []
    if asked.teacher.source is not None:
        overrides += tiny(asked.teacher.source.data, "teacher.source.data", tmp_path / "source")
    return loading.load(path, [*overrides, f"storage={tmp_path / 'storage'}"])


@pytest.mark.slow
def test_a_ready_spec_samples_students_that_can_be_built_trained_and_pruned(ready: spec.Spec) -> None:
    context = context_of(ready)
    batch = context.splits["train"].take(slice(4)).arguments
    teacher = checkpoint.build(context.architecture(ready.teacher.model or ""))
    pair_checks.check_pairs(ready, context, teacher)
    generator = random.Random(0)
    for _ in range(2):
        config, _ = ready.space.resolve(lambda name, domain: any_value(generator, domain))
        typed = ready.trial_config(config)
        untrained = typed.model_copy(update={"student": typed.student.model_copy(update={"initialise": "random"})})
        model = student.build(untrained, context, seed=0)
        with torch.inference_mode():
            logits = by_sequence(model.eval()(*batch), list(context.signature.classes))
        assert {name: one.shape[-1] for name, one in logits.items()} == context.signature.classes
        whole = float(sum(p.numel() for p in model.parameters()))  # where training decides how much is removed
        sizes = student_sizes.presize(untrained, context).final or {"params": whole}
        assert 0 < sizes["params"] <= whole < sum(p.numel() for p in teacher.parameters())


def test_a_ready_spec_has_a_line_on_its_users_and_the_name_of_its_file() -> None:
    for name in SPECS:
        text = (HOME / f"{name}.yaml").read_text()
        assert text.startswith("# yaml-language-server: $schema=spec.schema.json\n# For: ")
        assert loading.load(HOME / f"{name}.yaml").name == name


def test_a_plan_of_students_that_inherit_needs_no_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_store: Callable[[Path], str]
) -> None:
    """Their weights come from a teacher that is not there yet; their steps can be timed all the same."""
    asked = loading.from_dict({
        "name": "inherits", "data": "digits", "storage": str(tmp_path),
        "teacher": {"model": {"convnet": {"width": 8}}, "epochs": 2},
        "student": {"model": {"convnet": {"width": 4}}, "epochs": 2, "initialise": "teacher"},
    })  # fmt: skip
    monkeypatch.setattr(dry_run, "SAMPLED_STUDENTS", 1)
    assert mlflow_store(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}", "the storage's own store, made already"
    assert dry_run.plan(asked)["teacher"]["train_s"] >= 0
