from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn

from tests.plain import architecture_of, models_for, plain_signature
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost, timing
from tutelage.sparsity import Calibration, channels

DIGITS = Calibration(arguments=(torch.zeros(2, 1, 8, 8),))


def architecture(model: Any) -> dict[str, Any]:
    return architecture_of(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", models_for(plain_signature()))
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_network_read_from_its_files_has_the_same_outputs(tmp_path: Path, name: str, share: float) -> None:
    about = architecture(name)
    model = channels.remove_channels(channels.Config(), checkpoint.build(about), DIGITS, share)
    model(torch.randn(16, 1, 8, 8))
    checkpoint.write(tmp_path / "net", model, about)
    again, read_about = checkpoint.read(tmp_path / "net")
    batch = torch.randn(5, 1, 8, 8)
    assert torch.equal(again(batch), model.eval()(batch))
    assert read_about == about
    assert cost.size(again) == cost.size(model)
    linear = [m for m in again.modules() if isinstance(m, nn.Linear)][-1]
    assert (linear.out_features, linear.in_features) == tuple(linear.weight.shape)


def test_the_error_for_another_directory_lists_the_required_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold model\.safetensors and architecture\.json"):
        checkpoint.read(tmp_path)
    checkpoint.write(tmp_path, checkpoint.build(architecture("mlp")), architecture("mlp"))
    whole = (tmp_path / checkpoint.WEIGHTS).read_bytes()
    (tmp_path / checkpoint.WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable network"):
        checkpoint.read(tmp_path)
    (tmp_path / checkpoint.WEIGHTS).write_bytes(whole)
    weights = load_file(tmp_path / checkpoint.WEIGHTS)
    weights["stranger"] = torch.zeros(1)
    save_file(weights, tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match="stranger"):
        checkpoint.read(tmp_path)
    (tmp_path / checkpoint.ARCHITECTURE).write_text(json.dumps({"model": "mlp"}))
    with pytest.raises(InputError, match="lacks signature"):
        checkpoint.read(tmp_path)


def test_sizes_and_costs_are_those_counted_by_hand() -> None:
    """An 8×8 image, 4 and then 8 channels of 3×3 kernels, halved once: 8·8·(1·9·4) + 4·4·(4·9·8) + 8·10 products."""
    model = checkpoint.build(architecture({"convnet": {"width": 4, "depth": 2}}))
    assert cost.macs(model, plain_signature())["macs"] == 64 * 36 + 16 * 288 + 80
    params = 36 + 288 + 2 * (4 + 8) + 8 * 10 + 10
    buffers_bytes = 2 * (4 + 8) * 4 + 2 * 8
    assert cost.size(model) == {
        "params": params, "nonzero_params": params - 4 - 8, "size_bytes": 4 * params + buffers_bytes,
    }  # fmt: skip


def test_latency_grows_with_the_network() -> None:
    small, large = nn.Linear(8, 8), nn.Sequential(*[nn.Linear(512, 512) for _ in range(12)])
    wide = nn.Sequential(nn.Linear(8, 512), large)
    measured = timing.latencies_ms({"small": small, "large": wide}, (torch.zeros(1, 8),))
    assert measured["large"]["latency_ms"] > measured["small"]["latency_ms"] > 0
    assert measured["small"]["latency_p90_ms"] >= measured["small"]["latency_ms"]


def changed(directory: Path, change: dict[str, Any]) -> Path:
    """Write a small network whose architecture has the `change`."""
    about = architecture_of("mlp", (1, 2, 2))
    checkpoint.write(directory, checkpoint.seeded(about, 0), about)
    (directory / checkpoint.ARCHITECTURE).write_text(json.dumps({**about, **change}))
    return directory


def normalised(mean: float, std: float) -> dict[str, Any]:
    signature = architecture_of("mlp", (1, 2, 2))["signature"]
    return {"signature": {**signature, "inputs": [{**signature["inputs"][0], "mean": [mean], "std": [std]}]}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": {"mlp": {"hidden": 65536, "depth": 8}}}, r"states a network of 1[\d,]{14} bytes, and model.safetensors has"),
        ({"version": 99}, "has version 99"),
        (normalised(math.nan, 1.0), "a mean that is not finite"),
        (normalised(0.0, 0.0), "a deviation that is not above 0"),
        ({"surgeries": [{"method": "low_rank", "amount": 0.5, "surgery": {"ranks": {"no": 2}}}]}, "do not fit its model"),
    ],
    ids=["huge", "version", "mean", "deviation", "changes"],
)
def test_an_architecture_that_cannot_be_right_is_an_input_error(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        checkpoint.read(changed(tmp_path / "network", change))


def test_weights_that_are_not_finite_or_no_file_are_input_errors(tmp_path: Path) -> None:
    path = changed(tmp_path / "network", {}) / checkpoint.WEIGHTS
    weights = load_file(path)
    first = next(iter(weights))
    path.write_bytes(save({**weights, first: weights[first] * math.nan}))
    with pytest.raises(InputError, match="numbers that are not finite"):
        checkpoint.read(path.parent)
    path.unlink()
    os.mkfifo(path)  # it would be waited for
    with pytest.raises(InputError, match="is not a file"):
        checkpoint.read(path.parent)
