from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.plain import architecture_of, plain_signature
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost, timing
from tutelage.sparsity import Calibration, channels

DIGITS = Calibration(arguments=(torch.zeros(2, 1, 8, 8),))


def architecture(model: Any) -> dict[str, Any]:
    return architecture_of(model)


@pytest.mark.parametrize("name", plugins.names("models"))
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
