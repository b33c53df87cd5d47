"""NSGA-II with reference points, for three objectives and more (Deb and Jain, 2014).

Its options are those of `nsga2`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.search.samplers.nsga2 import SPACE as SPACE
from tutelage.search.samplers.nsga2 import Config as Config

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def build(config: Config, seed: int) -> BaseSampler:
    """Return the sampler."""
    from optuna.samplers import NSGAIIISampler

    return NSGAIIISampler(seed=seed, population_size=config.population)
