"""Tabular classification: one class a row of a table."""

from __future__ import annotations

from tutelage.plugins import PluginConfig
from tutelage.tasks._classification import Classification

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Tabular classification has no options."""


def build(config: Config) -> Classification:
    """Return the task."""
    return Classification()
