"""How the latency of a convolution in onnxruntime steps with its width on this machine: measured once, and kept."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.files import strict_json
from tutelage.networks import runtime, timing
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.storage import Storage

WIDTHS = (24, 25, 28, 31, 32)  # on multiples of 8 and off them
STEPS = (8, 4)  # the widest first
NO_GAIN = 0.95  # milliseconds of a width over those of the next multiple


def convolutions(width: int, side_px: int = 32, depth: int = 3) -> tuple[nn.Module, Signature]:
    """Return a network of 3×3 convolutions of one width, and its signature."""
    layers = [layer for _ in range(depth) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    shape = (width, side_px, side_px)
    return model.eval(), Signature(
        inputs=(InputSpec(name="inputs", kind="image", shape=shape),),
        outputs=(OutputSpec(name="class", names=tuple("0123456789")),),
    )  # fmt: skip


class Widened(nn.Module):
    """A network called with its own example, so that networks of unequal inputs can take turns."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._network, self._example = network, torch.zeros(1, *shape)

    def forward(self, _: torch.Tensor) -> Any:
        """Return what the network gives for its example."""
        return self._network(self._example)


def measured(widths: Sequence[int] = WIDTHS, side_px: int = 32) -> dict[int, float]:
    """Return the median milliseconds of networks of these widths in onnxruntime on one thread, which took turns."""
    ready: dict[str, nn.Module] = {}
    for width in widths:
        model, signature = convolutions(width, side_px)
        ready[str(width)] = Widened(runtime.opened(runtime.onnx_bytes(model, signature)), (width, side_px, side_px))
    found = timing.latencies_ms(ready, (torch.zeros(1),))
    return {width: found[str(width)]["latency_ms"] for width in widths}


def step_of(latency_ms: dict[int, float]) -> int:
    """Return the step of widths, 8, 4 or 1: the largest where a width off it is no faster than the next multiple."""
    for step in STEPS:
        off = [width for width in latency_ms if width % step and step * math.ceil(width / step) in latency_ms]
        ratios = [latency_ms[width] / latency_ms[step * math.ceil(width / step)] for width in off]
        if ratios and statistics.median(ratios) > NO_GAIN:
            return step
    return 1


def kept(storage: Storage) -> dict[str, Any]:
    """Return `step` and `latency_ms` by width on this machine, measured if `storage` has none of its kind."""
    about = {"machine": platform.machine(), "cpu": _cpu(), "onnxruntime": version("onnxruntime")}
    key = f"staircase-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.json"
    if key in storage.list():
        found: dict[str, Any] = json.loads(storage.local_path(key).read_text(encoding="utf-8"))
        return found
    latency_ms = measured()
    document = {**about, "step": step_of(latency_ms), "latency_ms": {str(width): ms for width, ms in latency_ms.items()}}
    storage.put(key, strict_json(document))
    return document


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
