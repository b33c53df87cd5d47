"""Each loss against its formula, its limits and its invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tutelage import losses
from tutelage.errors import InputError
from tutelage.losses import _grids, attention, fitnet, kd, mixture, review, weights
from tutelage.networks import stages
from tutelage.networks.output import Outline, Output, Stage

STUDENT = torch.tensor([[[1.0, -2.0, 0.5]], [[0.0, 3.0, 1.0]]], dtype=torch.double)
TEACHER = torch.tensor([[[2.0, 0.0, -1.0]], [[0.5, 2.5, 0.0]]], dtype=torch.double)


def kd_loss(temperature: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    loss = kd.build(kd.Config(), temperature, Outline(classes=3), Outline(classes=3))
    return lambda student, teacher: loss(Output(logits=student), Output(logits=teacher))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_is_its_formula(temperature: float) -> None:
    p = (TEACHER / temperature).softmax(-1)
    q = (STUDENT / temperature).softmax(-1)
    expected = temperature**2 * (p * (p.log() - q.log())).sum(-1).mean()
    assert kd_loss(temperature)(STUDENT, TEACHER).item() == pytest.approx(expected.item(), rel=1e-12)


def test_kd_at_a_high_temperature_is_the_centred_squared_error() -> None:
    """T² KL → Σ (v - w)² / (2C) for logits centred to mean 0 (Hinton et al., 2015, section 2.1)."""
    v, w = (z - z.mean(-1, keepdim=True) for z in (STUDENT, TEACHER))
    limit = ((v - w) ** 2).sum(-1).mean() / (2 * STUDENT.shape[-1])
    assert kd_loss(1e4)(STUDENT, TEACHER).item() == pytest.approx(limit.item(), rel=1e-3)


def test_kd_at_temperature_one_has_the_gradient_of_cross_entropy_with_soft_targets() -> None:
    gradients = []
    for loss in (
        lambda logits: kd_loss(1.0)(logits, TEACHER),
        lambda logits: functional.cross_entropy(logits.flatten(0, 1), TEACHER.flatten(0, 1).softmax(-1)),
    ):
        logits = STUDENT.clone().requires_grad_()
        loss(logits).backward()  # type: ignore[no-untyped-call]
        gradients.append(logits.grad)
    torch.testing.assert_close(*gradients)


def test_kd_is_invariant_to_shifted_logits_and_does_not_overflow() -> None:
    loss = kd_loss(2.0)
    torch.testing.assert_close(loss(STUDENT + 7, TEACHER - 3), loss(STUDENT, TEACHER))
    assert torch.isfinite(loss(STUDENT * 1e4, TEACHER * 1e4))


@pytest.mark.parametrize("value", [0.0, 0.3, 1e-20])
def test_standardised_kd_teaches_a_head_whose_logits_are_all_equal(value: float) -> None:
    """The gradient is that of logits of deviation 1: without one, a head whose weights start at 0 would never start."""
    loss = kd.build(kd.Config(standardise=True), 2.0, Outline(classes=3), Outline(classes=3))
    equal, zero = torch.full((2, 1, 3), value).requires_grad_(), torch.zeros(2, 1, 3, requires_grad=True)
    loss(Output(logits=equal), Output(logits=TEACHER.float())).backward()
    kd_loss(2.0)(zero, kd.standardised(TEACHER.float())).backward()  # type: ignore[no-untyped-call]
    assert zero.grad is not None and zero.grad.abs().max() > 0.1
    torch.testing.assert_close(equal.grad, zero.grad)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_standardised_logits_have_mean_0_and_deviation_1_and_no_scale(scale: float) -> None:
    found = kd.standardised(scale * STUDENT + 5.0)
    torch.testing.assert_close(found.mean(-1), torch.zeros(2, 1, dtype=torch.double), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.std(-1), torch.ones(2, 1, dtype=torch.double))


def outline(*stages: tuple[tuple[int, ...], int], **weights: tuple[int, ...]) -> Outline:
    named = tuple(Stage(name=f"stage{i}", grid=grid, channels=c) for i, (grid, c) in enumerate(stages, start=1))
    return Outline(classes=3, stages=named, weights={name.replace("_", "."): shape for name, shape in weights.items()})


def maps_of(**maps: torch.Tensor) -> Output:
    return Output(logits=STUDENT, maps=maps)


def test_attention_is_0_for_equal_maps_2_for_disjoint_ones_and_invariant_to_scale() -> None:
    pair = outline(((2, 2), 5))
    loss = attention.build(attention.Config(), 1.0, pair, pair)
    here, there = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0, 0, 3.0, 0]])
    assert loss(maps_of(stage1=here), maps_of(stage1=7 * here)) == pytest.approx(0.0, abs=1e-12)
    assert loss(maps_of(stage1=here), maps_of(stage1=there)) == pytest.approx(2.0)
    mixed = torch.rand(4, 4) + 0.1
    other = torch.rand(4, 4) + 0.1
    expected = (2 - 2 * functional.cosine_similarity(mixed, other)).mean()
    assert loss(maps_of(stage1=mixed), maps_of(stage1=other)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_attention_maps_are_invariant_to_rotations_of_the_channels() -> None:
    features = torch.randn(2, 6, 4, 4, dtype=torch.double)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.double))
    rotated = torch.einsum("dc,bchw->bdhw", rotation, features)
    torch.testing.assert_close(stages.map_of(rotated), stages.map_of(features))


def test_maps_of_another_grid_are_averaged_or_interpolated() -> None:
    maps = torch.arange(16.0).view(1, 16)
    assert _grids.regridded(maps, (4, 4), (2, 2)).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert _grids.regridded(torch.ones(1, 4), (2, 2), (8, 8)).tolist() == [[1.0] * 64]
    assert _grids.regridded(maps, (16,), (2, 2)).tolist() == [[2.5, 4.5, 10.5, 12.5]], "16 tokens are a 4×4 image"


def test_stages_are_paired_by_depth() -> None:
    few, many = outline(((8, 8), 4), ((4, 4), 8)), outline(*[((8, 8), 4)] * 5)
    assert [(a.name, b.name) for a, b in losses.paired(few, many, "x")] == [("stage1", "stage2"), ("stage2", "stage5")]
    with pytest.raises(InputError, match="the teacher has none"):
        losses.paired(few, outline(), "fitnet")
    with pytest.raises(InputError, match="a perceptron has one"):
        attention.build(attention.Config(), 1.0, outline(((), 8)), few)


def test_a_hint_is_the_share_of_features_that_a_linear_map_leaves_unexplained() -> None:
    own, other = outline(((4, 4), 3)), outline(((4, 4), 5))
    torch.manual_seed(0)
    loss: Any = fitnet.build(fitnet.Config(), 1.0, own, other)
    features = torch.randn(8, 16, 3)
    target = torch.randn(8, 16, 5) + features @ torch.randn(3, 5)
    design = torch.cat([features.flatten(0, 1), torch.ones(128, 1)], 1)
    best = torch.linalg.lstsq(design, target.flatten(0, 1)).solution
    with torch.no_grad():
        loss.adapter.weight.copy_(best[:3].T)
        loss.adapter.bias.copy_(best[3])
    student = Output(logits=STUDENT, features={"stage1": features})
    teacher = Output(logits=TEACHER, features={"stage1": target})
    unexplained = (design @ best - target.flatten(0, 1)).square().sum() / target.square().sum()
    assert loss(student, teacher).item() == pytest.approx(unexplained.item(), rel=1e-4)
    loss(student, teacher).backward()
    assert loss.adapter.weight.grad.abs().max() < 1e-5, "least squares is its minimum"


def test_weights_cost_their_relative_distance() -> None:
    own, other = outline(a_weight=(2, 3), b_bias=(2,)), outline(a_weight=(4, 3), b_bias=(4,))
    loss = weights.build(weights.Config(), 1.0, own, other)
    target = {"a.weight": torch.randn(2, 3), "b.bias": torch.randn(2)}
    for scale, expected in ((1.0, 0.0), (0.0, 1.0), (2.0, 1.0)):
        student = Output(logits=STUDENT, weights={name: scale * tensor for name, tensor in target.items()})
        assert loss(student, Output(logits=TEACHER, weights=target)).item() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InputError, match="no matrix of the teacher"):
        weights.build(weights.Config(), 1.0, outline(a_weight=(5, 3)), other)


def test_a_mixture_starts_at_the_size_of_the_label_loss_and_is_linear_in_its_weights() -> None:
    pair = outline(((2, 2), 5))
    student = Output(logits=STUDENT.float(), maps={"stage1": torch.rand(2, 4)})
    teacher = Output(logits=TEACHER.float(), maps={"stage1": torch.rand(2, 4)})
    value = {}
    for kd_weight, look in ((1.0, 0.0), (0.0, 2.0), (1.0, 2.0), (1.0, 1e-9)):
        config = mixture.Config(terms={"kd": kd_weight, "attention": {"weight": look}})
        loss = mixture.build(config, 1.0, pair, pair)
        value[kd_weight, look] = loss(student, teacher).item()
    assert value[1.0, 0.0] == pytest.approx(torch.tensor(3.0).log().item())
    assert value[1.0, 2.0] == pytest.approx(value[1.0, 0.0] + value[0.0, 2.0])
    assert value[1.0, 1e-9] == pytest.approx(value[1.0, 0.0], rel=1e-6)
    assert mixture.needs(mixture.Config(terms={"kd": 1.0, "attention": 0.0, "weights": 1.0})) == {"maps", "weights"}
    raw = mixture.build(mixture.Config(terms={"kd": 2.0}, raw=True), 1.0, pair, pair)
    assert raw(student, teacher).item() == pytest.approx(2 * kd_loss(1.0)(student.logits, teacher.logits).item())


@pytest.mark.parametrize(
    ("terms", "match"),
    [({"mixture": 1.0}, "another loss"), ({"kdd": 1.0}, "Did you mean"), ({"kd": -1.0}, "0 or more"), ({}, "at least 1")],
)
def test_wrong_terms_of_a_mixture_are_errors(terms: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        mixture.Config(terms=terms)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps_on_the_teachers_grid", [True, False])
def test_padding_does_not_leak_into_another_grid(steps_on_the_teachers_grid: bool) -> None:
    """One network has a position for each step; the other's grid has half or twice as many."""
    own, other = (
        outline(((2 if steps_on_the_teachers_grid else 4,), 3)),
        outline(((4 if steps_on_the_teachers_grid else 2,), 3)),
    )
    own, other = (replace(one, stages=(replace(one.stages[0], has_steps=one.stages[0].grid == (4,)),)) for one in (own, other))
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])

    def padded(network: Outline, fill: float) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(2, network.stages[0].positions, 3, generator=generator) + 0.1
        return {"stage1": features.where(mask.unsqueeze(2), fill) if features.shape[1] == 4 else features}

    for plugin in (attention, fitnet, review):
        torch.manual_seed(0)
        loss = plugin.build(plugin.Config(), 1.0, own, other)  # type: ignore[attr-defined]
        values = []
        for fill in (0.5, float("nan")):
            student, teacher = (padded(network, fill) for network in (own, other))
            student_maps, teacher_maps = ({"stage1": some["stage1"].mean(2)} for some in (student, teacher))
            teachers = Output(logits=STUDENT, features=teacher, maps=teacher_maps, mask=mask)
            values.append(loss(Output(logits=STUDENT, features=student, maps=student_maps), teachers))
        assert values[0] == values[1]


class Given(nn.Module):
    """A loss with these values, one a step."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = list(values)

    def forward(self, student: Output, teacher: Output) -> torch.Tensor:
        return torch.tensor(self.values.pop(0))


NOTHING = Output(logits=torch.zeros(1, 1, 2))


def test_a_scaled_loss_starts_at_the_logarithm_of_the_classes() -> None:
    loss = losses.scaled(Given(4.0, 2.0, 8.0), classes=10)
    assert [float(loss(NOTHING, NOTHING)) for _ in range(3)] == pytest.approx([math.log(10) * x for x in (1.0, 0.5, 2.0)])


def test_a_loss_that_starts_below_a_tenth_is_not_scaled_up_further() -> None:
    loss = losses.scaled(Given(0.01), classes=10)
    assert float(loss(NOTHING, NOTHING)) == pytest.approx(math.log(10) * 0.1)


def test_a_resumed_loss_keeps_the_value_of_its_first_step() -> None:
    first, resumed = losses.scaled(Given(4.0), classes=10), losses.scaled(Given(2.0), classes=10)
    first(NOTHING, NOTHING)
    resumed.load_state_dict(first.state_dict())
    assert float(resumed(NOTHING, NOTHING)) == pytest.approx(math.log(10) / 2)


def test_several_label_sequences_have_the_mean_of_their_losses() -> None:
    loss = losses.PerSequence({"slots": Given(1.0), "intent": Given(4.0)})
    both = {"slots": NOTHING, "intent": NOTHING}
    assert float(loss(both, both)) == pytest.approx(2.5)


def test_only_stages_of_steps_have_the_mask_of_a_sequence() -> None:
    steps = Stage(name="stage1", grid=(3,), channels=2, has_steps=True)
    teacher = Output(logits=torch.zeros(2, 3, 2), mask=torch.ones(2, 3, dtype=torch.bool))
    assert losses.position_mask(teacher, steps, 3) is teacher.mask and losses.position_mask(teacher, steps, 4) is None
    both = replace(teacher, input_mask=torch.zeros(2, 4, dtype=torch.bool))
    assert losses.position_mask(both, steps, 4) is both.input_mask and losses.position_mask(both, steps, 3) is both.mask
    fixed = replace(steps, has_steps=False)
    assert losses.position_mask(teacher, fixed, 3) is None, "as many positions as steps by chance"


def test_attention_is_the_mean_over_pairs_of_stages() -> None:
    both = outline(((2,), 1), ((2,), 1))
    loss = attention.build(attention.Config(), 1.0, both, both)
    left, right = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    student = replace(NOTHING, maps={"stage1": left, "stage2": left})
    teacher = replace(NOTHING, maps={"stage1": right, "stage2": left})
    assert float(loss(student, teacher)) == pytest.approx(1.0), "disjoint maps have a loss of 2, equal ones of 0"


@pytest.mark.parametrize(("depth", "stage"), [(0.0, "stage1"), (0.5, "stage2"), (0.67, "stage2"), (1.0, "stage3")])
def test_a_hint_compares_the_stage_of_its_depth(depth: float, stage: str) -> None:
    three = outline(((2,), 1), ((2,), 2), ((2,), 3))
    loss = fitnet.build(fitnet.Config(depth=depth), 1.0, three, three)
    assert loss.own.name == loss.other.name == stage  # type: ignore[union-attr]


@pytest.mark.parametrize(("own", "other", "is_refused"), [(True, True, True), (True, False, False), (False, False, False)])
def test_attention_of_two_transformers_of_sequences_has_no_default(own: bool, other: bool, is_refused: bool) -> None:
    def outline(has_attention: bool, has_steps: bool = True) -> Outline:
        stage = Stage(name="stage1", grid=(4,), channels=6, heads=2, qkv_width=6 * has_attention, has_steps=has_steps)
        return Outline(classes=3, stages=(stage,))

    config = attention.Config()
    assert attention.needs(config) == {"maps"}
    attention.build(
        config, 1.0, outline(True, has_steps=False), outline(True, has_steps=False)
    )  # such as two vision transformers
    attention.build(attention.Config(of="activations"), 1.0, outline(own), outline(other))
    if not is_refused:
        attention.build(config, 1.0, outline(own), outline(other))
        return
    with pytest.raises(InputError, match=r"transformers of sequences.*'relations'"):
        attention.build(config, 1.0, outline(own), outline(other))
