"""A network of a user's own that fails in training on more examples than its rehearsal has, for tests of failed trials."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from tutelage.plugins import PluginConfig
from tutelage.signature import Signature


class Broken(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and len(inputs) > 8:
            raise ZeroDivisionError("this network cannot be trained")
        return super().forward(inputs.flatten(1))


class Model:
    SPACE: dict[str, dict[str, object]] = {}

    class Config(PluginConfig):
        width: int = Field(1, ge=1, description="units")

    @staticmethod
    def build(config: Config, signature: Signature) -> nn.Module:
        return Broken(64, len(signature.class_names))
