"""A reader of lines gives a step for each of its strides of columns, and padding changes nothing."""

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

HEIGHT, WIDTH = 8, 12
LINE = InputSpec(name="columns", kind="frames", shape=("columns_steps", 1, HEIGHT), steps=WIDTH)
SIGNATURE = Signature(inputs=(LINE,), outputs=(OutputSpec(name="characters", names=tuple("-abc"), steps="columns"),))


def build(signature: Signature = SIGNATURE, **options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {"crnn": {"width": 4, "hidden": 6, **options}})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, signature)
    return model.eval()


def steps_of(model: nn.Module, *arguments: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(*arguments)["characters"]
    return found


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@settings(max_examples=15)
@given(
    widths=st.lists(st.integers(1, 13), min_size=1, max_size=4), more=st.integers(0, 9),
    filling=st.sampled_from([float("nan"), float("inf"), 1e3]),
)  # fmt: skip
def test_padding_changes_no_output(stride: int, widths: list[int], more: int, filling: float) -> None:
    model = build(stride=stride, layers=2)
    mask = torch.arange(max(widths) + more) < torch.tensor(widths).unsqueeze(1)
    lines = torch.randn(*mask.shape, 1, HEIGHT, generator=torch.Generator().manual_seed(sum(widths)))
    found = steps_of(model, lines.where(mask[:, :, None, None], filling), mask)
    for row, width in enumerate(widths):
        alone = steps_of(model, lines[row : row + 1, :width], mask[row : row + 1, :width])
        assert alone.shape[1] == -(-width // stride)
        torch.testing.assert_close(found[row, : alone.shape[1]], alone[0])


def test_parameters_and_macs_are_those_of_the_formulas() -> None:
    model = build(depth=2, stride=2, hidden=5)
    convolutions, gru, norms, head = 9 * 4 + 4 + 9 * 4 * 8 + 8, 2 * (15 * (16 + 5) + 30), 2 * 16 + 2 * 16 + 2 * 10, 11 * 4
    assert cost.size(model)["params"] == convolutions + gru + norms + head
    steps = WIDTH // 2
    macs = steps * (4 * 9 * 4 + 2 * 9 * 4 * 8) + steps * (2 * 15 * (16 + 5) + 10 * 4)
    assert cost.macs(model, SIGNATURE)["macs"] == macs


def test_every_stage_has_a_position_for_each_stride_of_columns() -> None:
    outline = stages.outline_of(build(depth=3, stride=4), SIGNATURE)
    assert [(one.name, one.positions, one.channels, one.has_steps) for one in outline.stages] == [
        ("stage1", 6, 16, True), ("stage2", 3, 16, True), ("stage3", 3, 16, True), ("stage4", 3, 12, True),
    ]  # fmt: skip
    assert outline.steps == {"characters": 3}


def test_one_class_a_line_is_read_from_the_mean_of_its_steps() -> None:
    model = build(Signature(inputs=(LINE,), outputs=(OutputSpec(name="class", names=tuple("xyz")),)))
    lines, mask = examples_for(SIGNATURE, 3)
    assert model(lines, mask).shape == (3, 3)


@pytest.mark.slow
def test_an_exported_network_takes_lines_of_any_width(tmp_path: Path) -> None:
    """Also for two layers of LSTMs; `tests/export/test_lines.py` exports the default, a GRU at a stride of 4."""
    model = build(stride=2, kind="lstm", layers=2)
    program = torch.export.load(io.BytesIO(program_bytes(program_of(model, SIGNATURE), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", model, SIGNATURE)
    session = Session(tmp_path / "network.onnx")
    assert session.outputs[0].shape[1] != session.arguments[0].shape[1], "steps are not columns"
    for count, width in ((1, 5), (3, 9), (2, 7), (1, 40)):  # a program takes lines of two steps or more
        mask = torch.arange(width) < torch.randint(1, width + 1, (count, 1))
        lines = torch.randn(count, width, 1, HEIGHT)
        expected = steps_of(model, lines, mask)
        torch.testing.assert_close(steps_of(program, lines, mask), expected, atol=1e-5, rtol=0)
        found = session.run(lines, mask)
        torch.testing.assert_close(found["characters"] if isinstance(found, dict) else found, expected, atol=1e-5, rtol=0)


def test_what_makes_no_network_is_an_error() -> None:
    with pytest.raises(InputError, match="takes images of lines"):
        build(plain_signature())
    with pytest.raises(InputError, match="2 convolutions cannot halve the columns 3 times"):
        build(stride=8, depth=2)
