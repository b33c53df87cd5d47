"""Gaussian processes with expected hypervolume improvement (Daulton et al., 2020; Ament et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tutelage.plugins import PluginConfig
from tutelage.search.samplers import STARTUP_TRIALS

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """When its model is used."""

    startup: int = Field(STARTUP_TRIALS, ge=1, le=100_000, description="random suggestions before the first one of its model")


def build(config: Config, seed: int) -> BaseSampler:
    """Return the sampler."""
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=config.startup, warn_independent_sampling=False)
