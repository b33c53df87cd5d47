"""Several losses at once: predictions, features, attention and weights together, each with a weight of its own."""

from __future__ import annotations

from math import log
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.losses import Answer, Loss, Need, Outline, needs_of
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
SMALLEST_START = 0.1


class Config(PluginConfig):
    """Which losses, and how much each counts."""

    terms: dict[str, float | dict[str, Any]] = Field(
        min_length=1, description="loss: its weight, or {weight: its weight, and the loss's own options}"
    )
    raw: bool = Field(False, description="take the losses at the papers' scales, instead of each by its value at the start")

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
    """Return all that the terms need; a term of weight 0 as well, so that a search's trials share one cache."""
    found: frozenset[Need] = frozenset()
    for name, term in config.terms.items():
        _, plugin, options = plugins.configure("losses", {name: _weighed(term)[1]})
        found |= needs_of(plugin, options)
    return found


class Mixture(nn.Module):
    """ln(classes) · Σ weight_i · loss_i / max(loss_i at the first step, 0.1).

    So each term starts at about the size of the label loss of an untrained network, ln(classes), and a weight of 1 means
    the same for every loss; what starts below 0.1 is not blown up to that. With `raw` it is Σ weight_i · loss_i.
    """

    def __init__(self, terms: dict[str, nn.Module], weights: list[float], classes: int, *, raw: bool) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.weights: Tensor
        self.unit = 1.0 if raw else log(classes)
        start = torch.ones(len(weights)) if raw else torch.full((len(weights),), float("nan"))
        self.register_buffer("start", start)
        self.start: Tensor

    def forward(self, student: Answer, teacher: Answer) -> Tensor:
        """Return the loss, a scalar."""
        losses = torch.stack([term(student, teacher).float() for term in self.terms.values()])
        self.start = torch.where(self.start.isnan(), losses.detach().clamp(min=SMALLEST_START), self.start)
        return self.unit * (self.weights / self.start * losses).sum()


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` where a term cannot serve the pair."""
    terms, weights = {}, []
    for name, term in config.terms.items():
        weight, options = _weighed(term)
        _, plugin, checked = plugins.configure("losses", {name: options})
        terms[name.replace(".", "_")] = plugin.build(checked, temperature, student, teacher)
        weights.append(weight)
    return Mixture(terms, weights, student.classes, raw=config.raw)
