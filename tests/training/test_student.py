"""From a trial's config to its training plan: seeds, views, phases, rates, first weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.contexts import small_config
from tests.plain import architecture_of
from tutelage.errors import InputError
from tutelage.networks import checkpoint, inherit
from tutelage.spec.sections import TrialConfig
from tutelage.training import distillation, student, student_sizes
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Phase


def config(student_: dict[str, Any] | None = None, **distillation: Any) -> TrialConfig:
    tree = small_config(weight=0.5, **distillation)
    return TrialConfig.model_validate({**tree, "student": {**tree["student"], **(student_ or {})}, "sparsity": {}})


def test_a_student_with_a_fresh_seed_gets_the_views_of_its_teacher(taught: TrainingContext) -> None:
    """The cached knowledge has the outputs for the views of the sweep's seed, whatever the student's own seed is."""
    plan = student.plan(config(), taught, seed=1007)
    assert (plan.seed, plan.view_seed) == (1007, taught.seed)
    assert taught.knowledge is not None and plan.views == taught.knowledge.views
    assert student.label_only_plan(config().student, taught).view_seed == taught.seed


def test_a_students_initial_weights_depend_on_its_seed(taught: TrainingContext) -> None:
    one, same, other = (next(student.build(config(), taught, seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_student_is_trained_and_measured_on_the_splits_of_these_names(taught: TrainingContext) -> None:
    plan = student.plan(config(), taught, seed=0)
    assert plan.train is taught.splits["train"] and plan.validation is taught.splits["validation"]
    assert plan.recipe == config().student and plan.augmentation == taught.augmentation


def test_fine_tuning_has_a_tenth_of_the_learning_rate_and_no_teacher() -> None:
    phases = student.phases(
        config({"epochs": 12, "initialise": "pretrained", "pretrain_epochs": 2, "fine_tune_epochs": 3}), is_distilled=True
    )
    assert phases == (
        Phase(epochs=2, is_distilled=False, rate=1.0), Phase(epochs=7), Phase(
            epochs=3, is_distilled=False, rate=0.1
        ),
    )  # fmt: skip


def test_a_label_only_student_has_one_phase() -> None:
    own = config({"epochs": 12, "initialise": "pretrained", "fine_tune_epochs": 3})
    assert student.phases(own, is_distilled=False) == (Phase(epochs=12),)


@pytest.mark.parametrize(("given", "expected"), [({}, 3), ({"pretrain_epochs": 5}, 5), ({"initialise": "random"}, 0)])
def test_pretraining_takes_a_quarter_of_the_epochs_by_default(given: dict[str, Any], expected: int) -> None:
    assert student.pretrain_epochs(config({"epochs": 12, "initialise": "pretrained", **given})) == expected


@pytest.mark.parametrize(("fine_tuning", "is_enough"), [(3, True), (4, False)])
def test_one_epoch_at_least_is_left_for_distillation(fine_tuning: int, is_enough: bool) -> None:
    own = config({"epochs": 4, "fine_tune_epochs": fine_tuning})
    if is_enough:
        student.check_epochs(own)
        return
    with pytest.raises(InputError, match="leave none for distillation"):
        student.check_epochs(own)


def test_a_student_of_weight_0_has_no_teacher(taught: TrainingContext) -> None:
    tree = small_config(weight=0.0)
    assert distillation.distillation_of(TrialConfig.model_validate(tree), taught) is None
    found = distillation.distillation_of(config(), taught)
    assert found is not None and found.weight == 0.5


def test_a_student_gets_the_rows_and_the_parts_that_its_loss_compares(taught: TrainingContext) -> None:
    found = distillation.distillation_of(config(), taught)
    assert found is not None
    rows = torch.tensor([5, 2])
    batch = taught.splits["train"].take(rows)
    parts = found.query(0, rows, batch)
    assert set(parts) == {"logits.class"}
    with torch.inference_mode():
        expected = taught.teacher(*batch.arguments)
    torch.testing.assert_close(parts["logits.class"][:, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_size_before_training_has_no_count_of_zeros(taught: TrainingContext) -> None:
    assert set(student_sizes.presize(config(), taught).final) == {"params", "size_bytes", "macs"}


def test_a_student_starts_from_given_weights_cut_to_its_shapes(context: TrainingContext, tmp_path: Path) -> None:
    about = context.architecture({"mlp": {"hidden": 48}})
    wide = checkpoint.seeded(about, 7)
    checkpoint.write(tmp_path / "wide", wide, about)
    own = config({"model": {"mlp": {"hidden": 16}}})
    expected = inherit.cut(
        wide.state_dict(), {name: t.shape for name, t in student.untrained(own, context, 1).state_dict().items()}
    )
    for start in (tmp_path / "wide", tmp_path / "wide" / checkpoint.WEIGHTS):
        built = student.build(own, replace(context, start=start), 1).state_dict()
        assert expected and all(torch.equal(built[name], tensor) for name, tensor in expected.items())
    (tmp_path / "text").write_text("no weights")
    for wrong in (tmp_path / "text", tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match=f"{wrong} is no readable .safetensors file"):
            student.build(own, replace(context, start=wrong), 1)


@pytest.mark.parametrize("names", ["9876543210", "x0123456789y", "13579", "abcde", "abcdefghijk"])
def test_rows_of_a_head_are_those_of_classes_of_their_names(names: str, context: TrainingContext, tmp_path: Path) -> None:
    """Other classes start at random, and so does a head of a file, which does not name its classes."""
    own = config({"model": {"mlp": {"hidden": 16}}})
    about = architecture_of({"mlp": {"hidden": 16}}, names=names)
    other = checkpoint.seeded(about, 7)
    checkpoint.write(tmp_path, other, about)
    head, untrained = other.state_dict()["head.weight"], student.untrained(own, context, 1).state_dict()["head.weight"]
    expected = [head[names.index(one)] if one in names else untrained[place] for place, one in enumerate("0123456789")]
    assert torch.equal(
        student.build(own, replace(context, start=tmp_path), 1).state_dict()["head.weight"], torch.stack(expected)
    )
    of_file = student.build(own, replace(context, start=tmp_path / checkpoint.WEIGHTS), 1).state_dict()
    assert torch.equal(of_file["head.weight"], head if len(names) == 10 else untrained)
    assert torch.equal(of_file["stage1.0.weight"], other.state_dict()["stage1.0.weight"])


def test_a_student_that_starts_from_given_weights_does_not_inherit_others() -> None:
    with pytest.raises(ValidationError, match="weights and initialise: teacher exclude each other"):
        config({"weights": "w.safetensors", "initialise": "teacher"})
