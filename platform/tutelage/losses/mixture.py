"""A weighted sum of several losses, for example of predictions, features, attention and weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator
from torch import Tensor, nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.losses import Loss, needs_of, scaled
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
SEQUENCES = "each"


class Config(PluginConfig):
    """The losses of the sum and their weights."""

    terms: dict[str, float | dict[str, Any]] = Field(
        min_length=1, description="loss: its weight, or {weight: its weight, and the loss's own options}"
    )
    raw: bool = Field(
        False,
        description="keep each term at the scale of its own formula; otherwise it is scaled by its value at the first step",
    )

    @field_validator("terms")
    @classmethod
    def _each_is_a_loss(cls, terms: dict[str, float | dict[str, Any]]) -> dict[str, float | dict[str, Any]]:
        for name, term in terms.items():
            weight, _ = _weighed(term)
            if name == "mixture" or weight < 0:
                raise ValueError(f"{name}: a term is another loss, with a weight of 0 or more.")
            try:
                plugins.configure("losses", {name: _weighed(term)[1]})
            except InputError as error:
                raise ValueError(str(error)) from None
        return terms


def _weighed(term: float | dict[str, Any]) -> tuple[float, dict[str, Any]]:
    if isinstance(term, dict):
        return float(term.get("weight", 1.0)), {key: value for key, value in term.items() if key != "weight"}
    return float(term), {}


def needs(config: Config) -> frozenset[Need]:
    """Return all that the terms need, those of weight 0 included, so that all trials of a search share one cache."""
    found: frozenset[Need] = frozenset()
    for name, term in config.terms.items():
        _, plugin, options = plugins.configure("losses", {name: _weighed(term)[1]})
        found |= needs_of(plugin, options)
    return found


class Mixture(nn.Module):
    """Σ weight_i · loss_i, with each loss scaled by its value at the first step (`Scaled`), or unscaled with `raw`."""

    is_scaled = True

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float]) -> None:
        super().__init__()
        self.terms, self.weights = nn.ModuleDict(terms), weights

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        losses = [self.weights[name] * precise(term(student, teacher)) for name, term in self.terms.items()]
        total: Tensor = sum(losses[1:], start=losses[0])
        return total


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. Raises `InputError` if a term cannot compare this pair of networks."""
    terms, weights = dict[str, nn.Module](), dict[str, float]()
    for name, term in config.terms.items():
        weight, options = _weighed(term)
        _, plugin, checked = plugins.configure("losses", {name: options})
        loss, key = plugin.build(checked, temperature, student, teacher), name.replace(".", "_")
        terms[key], weights[key] = loss if config.raw else scaled(loss, student.classes), weight
    return Mixture(terms, weights)
