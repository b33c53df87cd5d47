"""Largest expected gain of hypervolume; sizes are known before training, so only the error is modelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.plugins import PluginConfig
from tutelage.search.gaussian_process import Array
from tutelage.search.samplers import Chooser
from tutelage.search.size_aware import SizeAware, SizeLosses
from tutelage.spec.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SPACE: dict[str, object] = {}


class Config(PluginConfig):
    """No options."""


def build(config: Config, seed: int) -> BaseSampler:
    """Return the sampler that is used until enough students have finished: a random one."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def chooser(config: Config, space: Space, size_losses: SizeLosses, seed: int, reference: Array, worst: float) -> Chooser:
    """Return the chooser, which suggests students by their sizes."""
    return SizeAware(space, size_losses, seed, reference, worst)
