"""Which layers of a network are compared, and in which order."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tutelage.data import Batch
from tutelage.networks import stages
from tutelage.networks.capture import capture
from tutelage.signature import InputSpec, OutputSpec, Signature


class Many(nn.Module):
    """A network whose stages are registered in another order than that of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        for number in (10, 2, 1):
            self.add_module(f"stage{number}", nn.Linear(3, 3))
        self.head = nn.Linear(3, 2)


class Pooled(nn.Module):
    """Four positions, whatever the length."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.adaptive_avg_pool1d(inputs.transpose(1, 2), 4).transpose(1, 2)


class Mixed(nn.Module):
    """A network of ragged inputs with a stage of steps, and one whose four positions are the number of typical steps."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Linear(3, 5)
        self.stage2 = Pooled()
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.stage2(self.stage1(inputs)).mean(1))


RAGGED = Signature(
    inputs=(InputSpec(name="rows", kind="frames", shape=("steps", 3), steps=4),),
    outputs=(OutputSpec(name="class", names=("a", "b")),),
)


def test_a_stage_has_steps_if_its_positions_follow_the_length_of_the_examples() -> None:
    outline = stages.outline_of(Mixed(), RAGGED)
    assert [(stage.positions, stage.has_steps) for stage in outline.stages] == [(4, True), (4, False)]
    assert outline.stages_of_steps == {"stage1"}
    dense = replace(RAGGED, inputs=(InputSpec(name="rows", kind="vector", shape=(3,)),))
    assert stages.stages_of_steps(Many(), dense) == set()


def test_means_over_positions_exclude_padding_in_stages_of_steps_alone() -> None:
    model, task = Mixed(), SimpleNamespace(forward=lambda model, batch: dict[str, Any](out=model(*batch.arguments)) and {})
    mask = torch.tensor([[True, True, False, False]])
    batch = Batch(inputs={"rows": torch.randn(1, 4, 3)}, targets={}, masks={"rows": mask})
    parts = capture(model, task, batch, frozenset({"pooled", "features"}), {"stage1"})  # type: ignore[arg-type]
    torch.testing.assert_close(parts["pooled.stage1"], parts["features.stage1"][:, :2].mean(1))
    torch.testing.assert_close(parts["pooled.stage2"], parts["features.stage2"].mean(1))


def test_stages_are_in_the_order_of_their_numbers() -> None:
    assert list(stages.stages(Many())) == ["stage1", "stage2", "stage10"]


def test_a_pooled_stage_leaves_padding_out_and_a_map_is_the_mean_square() -> None:
    steps = torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])
    assert stages.pooled_of(steps, torch.tensor([[True, False]])).tolist() == [[1.0, 3.0]]
    assert stages.pooled_of(steps).tolist() == [[3.0, 4.0]]
    assert stages.map_of(steps).tolist() == [[5.0, 25.0]]
    image = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 2, 1, 2)
    assert stages.features_of(image).tolist() == [[[1.0, 3.0], [2.0, 4.0]]]
    assert stages.map_of(image).tolist() == [[5.0, 10.0]]


class Separate(nn.Module):
    """Attention with a layer each for queries, keys and values, which are not called in this order."""

    def __init__(self, key_width: int = 4) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, width) for width in (4, key_width, 4))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        value, key, query = self.value(rows), self.key(rows), self.query(rows)
        return value + key.mean() + query


class Attending(nn.Module):
    """A network of one stage, which is this attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.stage1 = attention

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.stage1(rows)
        return found


class Itself(nn.Module):
    """Torch's self-attention, with the batch on the first or the second axis."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=batch_first)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows if self.inner.batch_first else rows.transpose(0, 1)
        return self.inner(rows, rows, rows, need_weights=False)[0]


def test_queries_keys_and_values_of_separate_layers_are_joined_in_this_order() -> None:
    attention, rows = Separate(), torch.randn(2, 5, 4)
    model = Attending(attention)
    with stages.qkv_watched(model) as seen:
        model(torch.randn(1, 3, 4))
        model(rows)
    expected = torch.cat([layer(rows) for layer in (attention.query, attention.key, attention.value)], dim=-1)
    torch.testing.assert_close(seen["stage1"], expected)


@pytest.mark.parametrize("batch_first", [True, False])
def test_queries_keys_and_values_of_torchs_attention_have_the_batch_first(batch_first: bool) -> None:
    attention, rows = Itself(batch_first=batch_first), torch.randn(2, 5, 4)
    model = Attending(attention).eval()
    with torch.no_grad(), stages.qkv_watched(model) as seen:
        model(rows)
    torch.testing.assert_close(
        seen["stage1"], functional.linear(rows, attention.inner.in_proj_weight, attention.inner.in_proj_bias)
    )


def test_attention_whose_keys_are_narrower_has_no_relations() -> None:
    attention = Separate(key_width=2)
    with stages.qkv_watched(Attending(attention)) as seen:
        attention(torch.randn(1, 3, 4))
    assert seen == {}


def test_an_encoder_layer_of_torch_has_queries_in_evaluation_too() -> None:
    model = Attending(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    with torch.no_grad(), stages.qkv_watched(model) as seen:
        model(torch.randn(2, 5, 8))
    assert seen["stage1"].shape == (2, 5, 24)
