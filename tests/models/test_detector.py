"""The detector: cells of each stride, the background before training, and what it takes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import sparse_models
from tests.plain import plain_signature
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import cost, runtime, stages
from tutelage.networks.onnx_format import Session
from tutelage.networks.program import program_bytes, program_of
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.sparsity import Calibration

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


def test_cells_of_the_smaller_stride_see_those_of_the_larger() -> None:
    model, images = built(levels=2), torch.randn(1, 1, 32, 32)
    before = model(images)["class"][:, :64]
    torch.nn.init.zeros_(model.get_submodule("lateral_stage3").weight)
    assert not torch.allclose(model(images)["class"][:, :64], before)


def test_almost_all_cells_are_background_before_training() -> None:
    assert (built()(torch.randn(4, 1, 32, 32))["class"].softmax(dim=-1)[..., 0] > 0.9).all()


def test_the_stages_are_those_of_the_body_and_of_the_pyramid() -> None:
    outline = stages.outline_of(built(levels=2, width=4, neck=16), SIGNATURE)
    assert [(one.grid, one.channels) for one in outline.stages] == [
        ((16, 16), 4), ((8, 8), 8), ((4, 4), 16), ((8, 8), 16), ((4, 4), 16)
    ]  # fmt: skip
    assert outline.steps == {"class": 80, "edges": 320}


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("method", plugins.names("sparsity"))
def test_a_sparsity_method_makes_it_smaller_or_refuses_it(method: str, levels: int) -> None:
    model, images = built(width=8, neck=16, levels=levels), (torch.randn(2, 1, 32, 32),)
    before = cost.size(model)
    _, plugin, config = plugins.configure("sparsity", {method: sparse_models.options(method)})
    calibration = Calibration(
        arguments=images, steps=4, batches=lambda count: [images] * count,
        losses=lambda count: (sum(one.square().mean() for one in model(*images).values()) for _ in range(count)),
    )  # fmt: skip

    def smaller() -> nn.Module:
        own = plugin.build(config, 0.5)
        found = own.start(model, calibration)
        for _ in own.recoveries(2):
            found = own.remove(found, calibration)
        own.after_step(found, 0.1)
        return own.finish(found, calibration)[0].model.eval()

    if method in ("heads", "units"):
        with pytest.raises(InputError, match="of this network can be removed"):
            smaller()
        return
    shapes = {name: one.shape for name, one in model(*images).items()}
    found = smaller()
    assert cost.size(found)["nonzero_params"] < 0.7 * before["nonzero_params"]
    assert {name: one.shape for name, one in found(*images).items()} == shapes


@pytest.mark.slow
def test_it_is_exported_with_its_cells(tmp_path: Path) -> None:
    model = built(levels=2)
    program = torch.export.load(io.BytesIO(program_bytes(program_of(model, SIGNATURE), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", model, SIGNATURE)
    session = Session(tmp_path / "network.onnx")
    assert [port.shape for port in session.outputs] == [("batch", 80, 3), ("batch", 320, 8)]
    for count in (1, 3):
        images = torch.randn(count, 1, 32, 32)
        with torch.inference_mode():
            expected = model(images)
        for found in (program(images), session.run(images)):
            for name, logits in expected.items():
                torch.testing.assert_close(found[name], logits, atol=1e-5, rtol=0)


def test_other_inputs_and_outputs_are_errors() -> None:
    with pytest.raises(InputError, match="gives class and edges"):
        built(plain_signature())
    with pytest.raises(InputError, match="halve an image"):
        built(stages=6)
    with pytest.raises(InputError, match="levels is at most stages"):
        built(stages=2, levels=3)
    with pytest.raises(InputError, match="one step an example"):
        plugins.load("models", "convnet").build(plugins.configure("models", "convnet")[2], SIGNATURE)
