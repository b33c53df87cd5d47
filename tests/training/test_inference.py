"""A network's outputs for examples, in their order, and what is computed from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tutelage.spec.sections import AugmentationConfig
from tutelage.tasks import LabelSequence
from tutelage.training import inference
from tutelage.training.context import TrainingContext


class First(nn.Module):
    """A network whose logits are the first ten numbers of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.dropout(inputs.flatten(1)[:, :10])


def sequence(*probabilities: float) -> dict[str, LabelSequence]:
    return {"class": LabelSequence(logits=torch.tensor(probabilities).log().view(1, 1, -1))}


def test_the_divergence_is_that_of_the_student_from_the_teacher() -> None:
    """KL(teacher ‖ student) = 0.9 ln(0.9 / 0.5) + 0.1 ln(0.1 / 0.5); the other direction is 0.511."""
    found = inference.agreement(sequence(0.5, 0.5), sequence(0.9, 0.1))["teacher_kl_nats"]
    assert found[0, 0] == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2), rel=1e-5)


def test_padding_does_not_count_as_agreement() -> None:
    own = LabelSequence(logits=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), mask=torch.tensor([[True, False]]))
    teacher = LabelSequence(logits=torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    assert inference.agreement({"class": own}, {"class": teacher})["agreement"].tolist() == [[1.0]]


def test_every_example_has_its_own_contribution_whatever_the_batch(context: TrainingContext) -> None:
    validation, task = context.splits["validation"], context.built_task
    found = [inference.contributions_of(First(), task, validation, batch_size=size)["accuracy"] for size in (512, 7)]
    batch = validation.take(slice(None))
    expected = batch.inputs["inputs"].flatten(1)[:, :10].argmax(1) == batch.targets["class"]
    assert all((one[:, 0] == expected.double().numpy()).all() for one in found)


def test_a_network_is_evaluated_without_dropout_and_left_as_it_was(context: TrainingContext) -> None:
    model = First().train()
    parts = [next(inference.each(model, context.built_task, context.splits["validation"], torch.arange(9)))[2] for _ in "ab"]
    assert torch.equal(parts[0]["logits.class"], parts[1]["logits.class"])
    assert inference.measured(model, context.built_task, context.splits["validation"]) and model.training


def test_examples_are_augmented_in_views_only(context: TrainingContext) -> None:
    train, rows = context.splits["train"], torch.arange(20)
    policy = AugmentationConfig(pad_px=2)

    def shown(view: int | None) -> Tensor:
        found = inference.each(First(), context.built_task, train, rows, view=view, augmentation=policy, view_seed=1)
        return next(found)[1].inputs["inputs"]

    assert torch.equal(shown(None), train.take(rows).inputs["inputs"])
    assert not torch.equal(shown(0), shown(1)) and not torch.equal(shown(0), shown(None))
