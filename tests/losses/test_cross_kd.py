"""CrossKD: the teacher's head reads the student's features, in the teacher's style; equal networks have no loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.losses.cross_kd import restyled
from tutelage.networks.output import Outline, Output, Stage

LEAST_FALL = 1.5  # the contract's logits are not those of its head, so that no features give them
NOT_ZERO_FOR_EQUAL_NETWORKS = "the contract's logits are not those of its head"
OUTLINE = Outline(
    classes=3, stages=(Stage(name="stage1", grid=(4, 4), channels=5), Stage(name="stage2", grid=(2, 2), channels=6)),
    sequences={"class": 3}, head_stages=("stage2",), sequence="class",
)  # fmt: skip


def built(student: Outline = OUTLINE, teacher: Outline = OUTLINE) -> nn.Module:
    _, plugin, config = plugins.configure("losses", "cross_kd")
    loss: nn.Module = plugin.build(config, 4.0, student, teacher).double()
    return loss


def head() -> Any:
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 3, 1).double().requires_grad_(False)
    return lambda maps: {"class": layer(maps[0]).flatten(2).transpose(1, 2)}


def output(seed: int, channels: int = 6) -> Output:
    features = torch.randn(4, 4, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    reads = head()
    logits = reads([features.transpose(1, 2).unflatten(2, (2, 2))])["class"] if channels == 6 else torch.zeros(4, 4, 3)
    return Output(logits=logits, features={"stage2": features}, head=reads)


def test_it_is_the_divergence_of_the_heads_logits_for_restyled_features() -> None:
    student, teacher = output(0), output(1)
    own, target = (one.features["stage2"].flatten(0, 1) for one in (student, teacher))
    styled = (own - own.mean(0)) / own.std(0, correction=0) * target.std(0, correction=0) + target.mean(0)
    assert teacher.head is not None
    logits = teacher.head([styled.unflatten(0, (4, 4)).transpose(1, 2).unflatten(2, (2, 2))])["class"]
    p, q = ((one / 4).log_softmax(-1) for one in (teacher.logits, logits))
    assert float(built()(student, teacher)) == pytest.approx(16 * float((p.exp() * (p - q)).sum(-1).mean()))
    assert float(built()(replace(teacher, logits=student.logits), teacher)) == pytest.approx(0, abs=1e-12)


def test_gradients_reach_the_students_features_and_not_its_own_logits() -> None:
    student, teacher = output(0), output(1)
    features, logits = student.features["stage2"].requires_grad_(), student.logits.clone().requires_grad_()
    built()(replace(student, logits=logits), teacher).backward()
    assert features.grad is not None and features.grad.abs().sum() > 0 and logits.grad is None


def test_features_of_other_channels_have_an_adapter_and_steps_stay_steps() -> None:
    narrow = replace(OUTLINE, stages=(OUTLINE.stages[0], replace(OUTLINE.stages[1], channels=2)))
    loss = built(narrow)
    assert sum(one.numel() for one in loss.parameters()) == 2 * 6 + 6
    assert loss(output(0, 2), output(1)).item() > 0
    features: Tensor = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    styled = restyled(features, torch.ones(2, 3, 4), mask)
    assert torch.equal(styled[mask], torch.ones(3, 4)) and not styled[~mask].any()


def test_networks_whose_heads_take_other_grids_or_none_are_errors() -> None:
    coarse = replace(OUTLINE, stages=(OUTLINE.stages[0], replace(OUTLINE.stages[1], grid=(1, 1))))
    with pytest.raises(InputError, match=r"whose grids are 2 × 2; the student's are 1 × 1"):
        built(coarse)
    with pytest.raises(InputError, match="the teacher has none that is compared"):
        built(OUTLINE, replace(OUTLINE, head_stages=()))
