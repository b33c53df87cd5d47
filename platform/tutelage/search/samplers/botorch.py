"""BoTorch's Gaussian processes; needs optuna-integration[botorch]."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from pydantic import Field

from tutelage.errors import InputError
from tutelage.plugins import PluginConfig
from tutelage.search.samplers import STARTUP_TRIALS

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """When its model is used."""

    startup: int = Field(STARTUP_TRIALS, ge=1, le=100_000, description="random suggestions before the first one of its model")


def build(config: Config, seed: int) -> BaseSampler:
    """Return the sampler. Raises `InputError` if the library is not installed."""
    if importlib.util.find_spec("optuna_integration") is None:
        raise InputError("search.sampler botorch is not installed. pip install 'optuna-integration[botorch]', or take gp.")
    from optuna_integration import BoTorchSampler

    sampler: BaseSampler = BoTorchSampler(seed=seed, n_startup_trials=config.startup)
    return sampler
