"""One row of a table, one class: a sequence of one step."""

from __future__ import annotations

from tutelage.plugins import PluginConfig
from tutelage.tasks._classification import Classification

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Tabular classification has no options."""


def build(config: Config) -> Classification:
    """Return the task: the class of an example of any shape."""
    return Classification()
