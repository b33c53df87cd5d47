"""One row of a table, one class: a sequence of one step."""

from __future__ import annotations

from tutelage.plugins import PluginConfig
from tutelage.tasks.image_classification import ImageClassification

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Tabular classification has no options."""


def build(config: Config) -> ImageClassification:
    """Return the task: an example of any shape has one class, and is judged as an image's is."""
    return ImageClassification()
