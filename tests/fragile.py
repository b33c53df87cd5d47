"""A network of a user's own, `tests.fragile:Fragile`, whose first training kills its process in the second epoch."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from tutelage.models import mlp
from tutelage.plugins import PluginConfig

CALLS = 30  # in training: more than an epoch of digits has, fewer than two have


class _Network(nn.Module):
    def __init__(self, inner: nn.Module, marker: str) -> None:
        super().__init__()
        self.inner, self.marker, self.calls = inner, Path(marker), 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        if self.training and self.calls > CALLS and not self.marker.exists():
            self.marker.write_text("once")
            os.kill(os.getpid(), signal.SIGKILL)
        found: Tensor = self.inner(inputs)
        return found


class Fragile:
    """A perceptron that is killed once; `marker` is the file that says so."""

    SPACE: dict[str, Any] = {}

    class Config(PluginConfig):
        marker: str = Field(description="file")

    @staticmethod
    def build(config: Any, signature: Any) -> nn.Module:
        return _Network(mlp.build(mlp.Config(hidden=32), signature), config.marker)
