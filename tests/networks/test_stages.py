"""Which layers of a network are compared, and in which order."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

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
