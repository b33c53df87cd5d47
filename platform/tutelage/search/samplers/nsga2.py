"""A genetic algorithm, non-dominated sorting (Deb et al., 2002)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tutelage.plugins import PluginConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """The size of its generations."""

    population: int = Field(16, ge=2, le=100_000, description="students of a generation")


def build(config: Config, seed: int) -> BaseSampler:
    """Return the sampler."""
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=config.population)
