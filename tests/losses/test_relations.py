"""Relations of queries, keys and values: the loss against its formula, its invariances, and networks without attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.plain import signature_for
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.losses import relations
from tutelage.networks import stages
from tutelage.networks.output import Outline, Output, Stage


def outline(*widths: int, positions: int = 4, has_steps: bool = False) -> Outline:
    found = (
        Stage(name=f"stage{i}", grid=(positions,), channels=6, qkv_width=width, has_steps=has_steps)
        for i, width in enumerate(widths, start=1)
    )
    return Outline(classes=3, stages=tuple(found))


def output(mask: torch.Tensor | None = None, **qkv: torch.Tensor) -> Output:
    return Output(logits=torch.zeros(2, 1, 3), qkv=qkv, input_mask=mask)


def drawn(positions: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, positions, 3 * width, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def built(own: Outline, other: Outline, **options: Any) -> Any:
    return relations.build(relations.Config(**options), 1.0, own, other)


def formula(own: torch.Tensor, other: torch.Tensor, heads: int, every: int = 1) -> float:
    """Return the loss of two examples by loops over queries, keys and values, relation heads, examples and positions."""
    total, queries = 0.0, range(0, own.shape[1], every)
    for one, another in zip(own.chunk(3, dim=-1), other.chunk(3, dim=-1), strict=True):
        for student, teacher in zip(one.tensor_split(heads, -1), another.tensor_split(heads, -1), strict=True):
            for example in range(len(own)):
                for position in queries:
                    p, q = (
                        (part[example] @ part[example, position] / part.shape[-1] ** 0.5).softmax(-1)
                        for part in (teacher, student)
                    )
                    total += float((p * (p.log() - q.log())).sum()) / (heads * len(own) * len(queries))
    return total


@pytest.mark.parametrize("heads", [1, 2, 4, 5])
def test_the_loss_is_the_formula_for_any_widths_and_any_number_of_relation_heads(heads: int) -> None:
    """Four and five heads divide neither width."""
    own, other = drawn(4, 6), drawn(4, 14, seed=1)
    loss = built(outline(6), outline(14), heads=heads)
    assert loss(output(stage1=own), output(stage1=other)).item() == pytest.approx(formula(own, other, heads), rel=1e-9)


@pytest.mark.parametrize(("every", "real"), [(2, 2), (2, 3), (3, 4), (9, 4)])
def test_of_some_positions_only_the_first_is_related_to_all_real_ones(every: int, real: int) -> None:
    own, other, mask = drawn(4, 6), drawn(4, 8, seed=1), torch.arange(4).expand(2, 4) < real
    loss = built(outline(6, has_steps=True), outline(8, has_steps=True), heads=3, every=every)
    found = loss(output(stage1=own), output(mask, stage1=other)).item()
    assert found == pytest.approx(formula(own[:, :real], other[:, :real], 3, every), rel=1e-9)


def test_padding_is_excluded_as_query_and_as_key() -> None:
    own, other = drawn(4, 6), drawn(4, 8, seed=1)
    mask = torch.tensor([[True, True, True, False]] * 2)
    loss = built(outline(6, has_steps=True), outline(8, has_steps=True), heads=3)
    found = loss(output(stage1=own), output(mask, stage1=other)).item()
    assert found == pytest.approx(formula(own[:, :3], other[:, :3], 3), rel=1e-9)


def test_an_example_without_a_real_step_has_no_gradient() -> None:
    own, other = drawn(4, 6).requires_grad_(), drawn(4, 8, seed=1)
    mask = torch.tensor([[True] * 4, [False] * 4])
    loss = built(outline(6, has_steps=True), outline(8, has_steps=True), heads=3)
    loss(output(stage1=own), output(mask, stage1=other)).backward()
    assert own.grad is not None and own.grad[0].abs().sum() > 0 and not own.grad[1].any()


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("at_once", [1, 2**20])
def test_the_gradient_is_that_of_the_value(every: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples are compared one at a time, or all at once."""
    monkeypatch.setattr(relations, "AT_ONCE", at_once)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    loss = built(outline(6, has_steps=True), outline(8, has_steps=True), heads=4, every=every)
    taught = output(mask, stage1=drawn(4, 8, seed=1))
    assert torch.autograd.gradcheck(lambda own: loss(output(stage1=own), taught), drawn(4, 6).requires_grad_())


@pytest.mark.parametrize(("positions", "expected"), [(1, 1), (9, 1), (32, 1), (33, 2), (128, 4)])
def test_at_most_32_positions_of_a_typical_example_are_queries(positions: int, expected: int) -> None:
    outlines = (outline(6, positions=positions), outline(8, positions=positions))
    assert built(*outlines).every == expected and built(*outlines, every=1).every == 1


def test_a_rotation_within_each_relation_head_changes_nothing() -> None:
    own, other = drawn(4, 6), drawn(4, 6, seed=1)
    rotation, _ = torch.linalg.qr(drawn(3, 1, seed=2)[0])
    rotated = (own.unflatten(-1, (6, 3)) @ rotation).flatten(-2)
    loss = built(outline(6), outline(6), heads=2)
    torch.testing.assert_close(
        loss(output(stage1=rotated), output(stage1=other)), loss(output(stage1=own), output(stage1=other))
    )


@pytest.mark.parametrize(("depth", "expected"), [(1.0, "stage5"), (0.75, "stage4"), (0.0, "stage2")])
def test_the_students_last_layer_is_compared_with_the_teachers_at_a_depth(depth: float, expected: str) -> None:
    """Layers without attention, here the first one, do not count."""
    loss = built(outline(8, 8, 0), outline(0, 16, 16, 16, 16), depth=depth)
    assert (loss.own.name, loss.other.name) == ("stage2", expected)


@pytest.mark.parametrize(
    ("own", "other", "match"),
    [
        (outline(0), outline(8), "the student has none"),
        (outline(8), outline(0), "the teacher has none"),
        (outline(8, positions=9), outline(8), "stage1 has 9 positions, the teacher's stage1 has 4"),
        (outline(8, has_steps=True), outline(8), "has 4 positions, the teacher's stage1 has 4"),
        (outline(8), outline(3), "4 relation heads, and the queries of the narrower network have 3 channels"),
    ],
)
def test_networks_without_comparable_attention_are_an_error(own: Outline, other: Outline, match: str) -> None:
    with pytest.raises(InputError, match=match):
        built(own, other)


@pytest.mark.parametrize("name", ["transformer", "causal_transformer", "vit"])
def test_our_transformers_are_compared_with_one_of_other_heads_and_width(name: str) -> None:
    signature = signature_for(name)

    def network(width: int, heads: int) -> Outline:
        _, plugin, config = plugins.configure("models", {name: {"width": width, "heads": heads, "depth": 1}})
        return stages.outline_of(plugin.build(config, signature), signature)

    own, other = network(12, 2), network(24, 3)
    assert built(own, other).own.qkv_width == 12 and own.stages[0].qkv_width == 12 and other.stages[0].qkv_width == 24
