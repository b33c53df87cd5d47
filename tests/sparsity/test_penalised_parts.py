"""Penalties of spr on attention heads and residual blocks: closed forms, exact zeros, and what is removed of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contexts import small_config
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.networks.trust import EVERYTHING
from tutelage.networks.weights import load
from tutelage.sparsity import Calibration
from tutelage.sparsity._blocks import block_terms
from tutelage.sparsity._head_terms import head_terms
from tutelage.sparsity.spr import Config, build
from tutelage.spec.sections import TrialConfig
from tutelage.training import loop, student
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow

TOKENS = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(0))
DATA = Calibration(arguments=(TOKENS[:2],), rates=2.0)


class HeadByHead(nn.Module):
    """Attention whose fused layer holds the rows head by head: query, key and value of the first head come first."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.head_width = 3, 4
        self.fused, self.projection = nn.Linear(12, 36), nn.Linear(12, 12)
        self.fused.keeps_width = self.projection.keeps_width = True  # type: ignore[assignment]

    def forward(self, tokens: Tensor) -> Tensor:
        split = self.fused(tokens).view(*tokens.shape[:2], self.heads, 3, self.head_width).permute(3, 0, 2, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*split.unbind(0))
        found: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return found


class Plain(nn.Module):
    """An `nn.MultiheadAttention` on its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return found


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = tokens + self.inner(tokens)
        return found


class Network(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embedded, self.attended = nn.Linear(12, 12), Residual(attention)
        self.hidden = Residual(nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 12)))
        self.normed = nn.LayerNorm(12)
        self.output = nn.Linear(12, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.output(self.normed(self.hidden(self.attended(self.embedded(tokens)))))
        return found


def network(kind: type[nn.Module]) -> Network:
    torch.manual_seed(0)
    found = Network(kind()).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def of_heads(model: Network) -> tuple[list[Tensor], Tensor]:
    """Return the weights of each head as one vector, read without the package's code, and the columns of the projection."""
    inner = model.attended.inner
    if isinstance(inner, Plain):
        weight, bias, out = inner.attention.in_proj_weight, inner.attention.in_proj_bias, inner.attention.out_proj.weight
        rows = [
            torch.cat([torch.arange(part * 12 + head * 4, part * 12 + head * 4 + 4) for part in range(3)]) for head in range(3)
        ]
    else:
        assert isinstance(inner, HeadByHead)
        weight, bias, out = inner.fused.weight, inner.fused.bias, inner.projection.weight
        rows = [torch.arange(head * 12, head * 12 + 12) for head in range(3)]
    return [
        torch.cat([weight[own].flatten(), bias[own], out[:, head * 4 : head * 4 + 4].flatten()]).detach()
        for head, own in enumerate(rows)
    ], out  # fmt: skip


@pytest.mark.parametrize("kind", [Plain, HeadByHead])
def test_a_heads_norm_is_of_its_rows_and_of_the_columns_that_read_it(kind: type[nn.Module]) -> None:
    model = network(kind)
    found, reasons = head_terms(model, DATA.arguments)
    assert len(found) == 1 and not reasons
    (group,) = found.values()
    torch.testing.assert_close(group.norms(model), torch.stack([one.norm() for one in of_heads(model)[0]]))


@pytest.mark.parametrize("kind", [Plain, HeadByHead])
def test_the_step_of_a_head_is_the_closed_form_and_ends_in_exact_zeros(kind: type[nn.Module]) -> None:
    model = network(kind)
    before, _ = of_heads(model)
    method = build(Config(group=0.0, heads=0.4), 0.5)
    method.start(model, DATA)
    method.after_step(model, 0.5)
    mean = torch.stack([one.norm() for one in before]).mean()
    for old, new in zip(before, of_heads(model)[0], strict=True):
        torch.testing.assert_close(new, old * (1 - 0.5 / 2.0 * 0.4 * mean / old.norm()))
    for _ in range(400):
        method.after_step(model, 0.5)
    assert all(not one.any() for one in of_heads(model)[0]), "zeros are exact"


@pytest.mark.parametrize("kind", [Plain, HeadByHead])
def test_heads_that_are_zero_are_removed_up_to_the_share_and_the_function_stays(kind: type[nn.Module]) -> None:
    for amount, gone, left in ((0.7, [0, 2], 1), (0.4, [0, 2], 2), (0.9, [0, 1, 2], 1), (0.3, [0, 2], 3), (0.7, [], 3)):
        model = network(kind)
        ((name, group),) = head_terms(model, DATA.arguments)[0].items()
        method = build(Config(group=0.0, heads=0.1, threshold=1e-9), amount)
        method.start(model, DATA)
        group.scale(model, torch.tensor([0.0 if head in gone else 1.0 for head in range(3)]))
        expected = model(TOKENS)
        smaller = method.remove(copy.deepcopy(model), DATA)
        after, _ = head_terms(smaller, DATA.arguments)
        assert after[name].width == left
        torch.testing.assert_close(smaller(TOKENS), expected, atol=1e-5, rtol=1e-5)
        if left < 3:
            read = load(method.replay(network(kind), method.surgery() or {}), smaller.state_dict())
            torch.testing.assert_close(read(TOKENS), smaller(TOKENS))
        else:
            assert method.surgery() is None


def test_a_threshold_by_name_removes_weak_heads_that_are_not_zero() -> None:
    model = network(Plain)
    ((name, group),) = head_terms(model, DATA.arguments)[0].items()
    group.scale(model, torch.tensor([1.0, 0.1, 1.0]))
    method = build(Config(group=0.0, heads=0.1, threshold=1e-9, thresholds={name: 0.5}), 0.5)
    assert head_terms(method.remove(method.start(model, DATA), DATA), DATA.arguments)[0][name].width == 2


def test_blocks_are_the_inner_modules_that_pass_their_input_on_without_weights() -> None:
    found = block_terms(network(Plain), DATA.arguments)
    assert set(found) == {"attended", "hidden"}
    encoder = nn.Sequential(nn.TransformerEncoderLayer(12, 3, batch_first=True), nn.Linear(12, 2)).eval()
    assert block_terms(encoder, DATA.arguments) == {}, "a norm on the sum does not pass the input on"
    with pytest.raises(InputError, match=r"no block of this network can be penalised.* Set blocks: 0"):
        build(Config(group=0.0, blocks=0.5), 0.5).start(encoder, DATA)
    with pytest.raises(InputError, match="no heads of this network can be penalised: it has no attention"):
        build(Config(group=0.0, heads=0.5), 0.5).start(nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 2)), DATA)


def test_the_step_of_a_block_is_the_closed_form_and_a_block_of_zeros_is_removed_up_to_the_share() -> None:
    model = network(Plain)
    method = build(Config(group=0.0, blocks=0.5, threshold=1e-9), 0.5)
    method.start(model, DATA)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    method.after_step(model, 0.5)
    for name, weight in model.named_parameters():
        factor = 1 - 0.5 / 2.0 * 0.5 if name.startswith(("attended", "hidden")) else 1.0
        torch.testing.assert_close(weight.detach(), factor * before[name])
    for _ in range(20):
        method.after_step(model, 0.5)
    assert not any(weight.any() for name, weight in model.named_parameters() if name.startswith(("attended", "hidden")))
    expected = model(TOKENS)
    smaller = method.remove(model, DATA)
    assert isinstance(smaller.attended, nn.Identity) and not isinstance(smaller.hidden, nn.Identity), "half of two blocks"
    torch.testing.assert_close(smaller(TOKENS), expected)
    assert method.surgery() == {"attentions": {}, "blocks": ["attended"]}
    assert "gone: attended" in method.made  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        pytest.param({"resnet": {"width": 4, "blocks": 2}}, {"blocks": 20.0}, marks=pytest.mark.slow),
        ({"vit": {"width": 16, "depth": 3}}, {"heads": 20.0, "blocks": 20.0}),
    ],
    ids=["resnet", "vit"],
)  # fmt: skip
@pytest.mark.parametrize("has_ladder", [False, True])
def test_a_training_loses_heads_and_blocks_resumes_and_is_read_back(
    context: TrainingContext, tmp_path: Path, model: dict[str, Any], options: dict[str, float], has_ladder: bool
) -> None:
    config = small_config()
    config["sparsity"] = {"amount": 0.8, "method": {"spr": {"group": 0.1, **options}}}
    config["student"] |= {"model": model, "epochs": 3}
    if has_ladder:
        config["sparsity"]["ladder"] = {"rungs": 1, "recovery_epochs": 1}
    checked = TrialConfig.model_validate(config)

    def opened() -> loop.Training:
        return loop.Training(student.build(checked, context, 0), student.plan(checked, context, 0))

    first, second = opened(), opened()
    for _ in range(3):
        first.epoch()
        if first.epochs_done == 2:
            torch.save(first.state(), tmp_path / "state.pt")
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True), load)
    second.epoch()
    points = first.finish()
    assert points[-1].surgery is not None and points[-1].surgery["blocks"], points[-1].made
    inputs = context.splits["validation"].take(slice(8)).arguments
    for number, (point, again) in enumerate(zip(points, second.finish(), strict=True)):
        checkpoint.write(tmp_path / str(number), point.model, student.architecture_of(checked, context, point))
        read, _ = checkpoint.read(tmp_path / str(number), EVERYTHING)
        torch.testing.assert_close(read(*inputs), point.model(*inputs))
        assert torch.equal(point.model(*inputs), again.model(*inputs))
