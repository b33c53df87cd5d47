"""Independent random suggestions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.plugins import PluginConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """No options."""


def build(config: Config, seed: int) -> BaseSampler:
    """Return the sampler."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)
