"""The detector: cells of each stride, the background before training, and what it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.plain import plain_signature
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import stages
from tutelage.signature import InputSpec, OutputSpec, Signature

SIGNATURE = Signature(
    inputs=(InputSpec(name="image", kind="image", shape=(1, 32, 32)),),
    outputs=(
        OutputSpec(name="class", names=("<background>", "a", "b"), steps="image"),
        OutputSpec(name="edges", names=tuple("01234567"), steps="image"),
    ),
)


def built(signature: Signature = SIGNATURE, **options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {"detector": options})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, signature)
    return model.eval()


def test_a_cell_has_a_class_and_four_edges_at_every_stride() -> None:
    found = built(levels=2)(torch.randn(2, 1, 32, 32))
    assert found["class"].shape == (2, 64 + 16, 3) and found["edges"].shape == (2, 4 * 80, 8)
    assert built()(torch.randn(2, 1, 20, 13))["class"].shape == (2, 3 * 2, 3)  # sides are rounded up


def test_the_edges_of_a_cell_stand_together() -> None:
    model = built()
    found, head = model(images := torch.randn(1, 1, 32, 32)), model.get_submodule("head")
    features = model.get_submodule("stage4")(
        model.get_submodule("lateral_stage3")(nn.Sequential(*[model.get_submodule(f"stage{one}") for one in (1, 2, 3)])(images))
    )
    maps = head.edges(head.tower(features))  # [1, 4 * 8, 4, 4]
    torch.testing.assert_close(found["edges"][0, 4 * 6 + 2], maps[0, 2 * 8 : 3 * 8, 1, 2])


def test_almost_all_cells_are_background_before_training() -> None:
    assert (built()(torch.randn(4, 1, 32, 32))["class"].softmax(dim=-1)[..., 0] > 0.9).all()


def test_the_stages_are_those_of_the_body_and_of_the_pyramid() -> None:
    outline = stages.outline_of(built(levels=2, width=4, neck=16), SIGNATURE)
    assert [(one.grid, one.channels) for one in outline.stages] == [
        ((16, 16), 4), ((8, 8), 8), ((4, 4), 16), ((8, 8), 16), ((4, 4), 16)
    ]  # fmt: skip
    assert outline.steps == {"class": 80, "edges": 320}


def test_other_inputs_and_outputs_are_errors() -> None:
    with pytest.raises(InputError, match="gives class and edges"):
        built(plain_signature())
    with pytest.raises(InputError, match="halve an image"):
        built(stages=6)
    with pytest.raises(InputError, match="levels is at most stages"):
        built(stages=2, levels=3)
    with pytest.raises(InputError, match="one step an example"):
        plugins.load("models", "convnet").build(plugins.configure("models", "convnet")[2], SIGNATURE)
