from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tutelage import export, network
from tutelage.errors import InputError, WorkFailed
from tutelage.files import sha256_of
from tutelage.sparsity import channels

ABOUT = {"model": {"convnet": {"width": 6}}, "example_shape": [1, 8, 8], "class_names": list("0123456789")}
LOADS_ALONE = """
import sys, torch
program = torch.export.load(sys.argv[1] + "/model.pt2").module()
inputs = torch.load(sys.argv[2], weights_only=True)
assert "tutelage" not in sys.modules
for rows in (1, 2, 7):
    torch.save(program(inputs[:rows]), f"{sys.argv[2]}.{rows}")
"""


@pytest.fixture
def model() -> torch.nn.Module:
    built = channels.apply(channels.Config(), network.build(ABOUT), torch.zeros(2, 1, 8, 8), 0.5)
    built(torch.randn(16, 1, 8, 8))
    return built


def test_the_program_answers_alone_with_any_batch(tmp_path: Path, model: torch.nn.Module) -> None:
    manifest = export.export(model, ABOUT, tmp_path / "out", {"trial": "t0001"})
    inputs = torch.randn(7, 1, 8, 8)
    torch.save(inputs, tmp_path / "inputs")
    command = [sys.executable, "-I", "-W", "ignore", "-c", LOADS_ALONE, str(tmp_path / "out"), str(tmp_path / "inputs")]
    subprocess.run(command, check=True, capture_output=True)
    for rows in (1, 2, 7):
        answered = torch.load(f"{tmp_path / 'inputs'}.{rows}", weights_only=True)
        torch.testing.assert_close(answered, model.eval()(inputs[:rows]), atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    for name, digest in manifest["sha256"].items():
        assert sha256_of(tmp_path / "out" / name) == digest
    assert max(export.check(tmp_path / "out", model, inputs).values()) <= 1e-5


def test_a_check_sees_another_students_weights(tmp_path: Path, model: torch.nn.Module) -> None:
    export.export(model, ABOUT, tmp_path / "out", {})
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    with pytest.raises(WorkFailed, match="answers otherwise"):
        export.check(tmp_path / "out", model, torch.randn(3, 1, 8, 8))


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path, model: torch.nn.Module) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        export.export(model, ABOUT, tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
