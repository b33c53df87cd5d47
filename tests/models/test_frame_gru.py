"""A network for clips has features of frames and of their sequence, and padding changes nothing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.plain import examples_for, plain_signature
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import cost, runtime, stages
from tutelage.networks.onnx_format import Session
from tutelage.networks.program import program_bytes, program_of
from tutelage.signature import InputSpec, OutputSpec, Signature

CLIP = InputSpec(name="frames", kind="frames", shape=("frames_steps", 1, 8, 6), steps=5)
SIGNATURE = Signature(inputs=(CLIP,), outputs=(OutputSpec(name="class", names=tuple("abc")),))


def build(**options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {"frame_gru": {"width": 4, "hidden": 6, "depth": 2, **options}})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, SIGNATURE)
    return model.eval()


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), more=st.integers(0, 3),
    filling=st.sampled_from([float("nan"), float("inf"), 1e3]),
)  # fmt: skip
def test_padding_changes_no_output(lengths: list[int], more: int, filling: float) -> None:
    model = build()
    mask = torch.arange(max(lengths) + more) < torch.tensor(lengths).unsqueeze(1)
    clips = torch.randn(*mask.shape, 1, 8, 6, generator=torch.Generator().manual_seed(sum(lengths)))
    found = model(clips.where(mask[:, :, None, None, None], filling), mask)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row], model(clips[row : row + 1, :length], mask[row : row + 1, :length])[0])


def test_parameters_and_stages_are_those_of_the_formulas() -> None:
    model = build()
    convolutions, features = 9 * 4 + 4 + 9 * 4 * 8 + 8, 8 * 2 * 2
    gru, norms, head = 2 * (18 * (features + 6) + 36), 2 * 4 + 2 * 8 + 2 * 12, 13 * 3
    assert cost.size(model)["params"] == convolutions + gru + norms + head
    outline = stages.outline_of(model, SIGNATURE)
    assert [(one.name, one.positions, one.channels, one.has_steps) for one in outline.stages] == [
        ("stage1", 5, features, True), ("stage2", 5, 12, True),
    ]  # fmt: skip


@pytest.mark.slow
def test_an_exported_network_takes_clips_of_any_length(tmp_path: Path) -> None:
    model = build()
    program = torch.export.load(io.BytesIO(program_bytes(program_of(model, SIGNATURE), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", model, SIGNATURE)
    session = Session(tmp_path / "network.onnx")
    for count, length in ((1, 2), (3, 7)):
        mask = torch.arange(length) < torch.randint(1, length + 1, (count, 1))
        clips = torch.randn(count, length, 1, 8, 6)
        for found in (program(clips, mask), session.run(clips, mask)):
            torch.testing.assert_close(found, model(clips, mask), atol=1e-5, rtol=0)


def test_other_examples_than_clips_are_an_error() -> None:
    _, plugin, config = plugins.configure("models", "frame_gru")
    with pytest.raises(InputError, match="takes clips"):
        plugin.build(config, plain_signature())
    assert examples_for(SIGNATURE, 2)[0].shape == (2, 5, 1, 8, 6)
