"""The settings that the papers of the searched losses publish."""

from __future__ import annotations

from typing import Any

from tutelage import plugins
from tutelage.spec.domains import Choice
from tutelage.spec.spec import Spec


def published_recipes(spec: Spec) -> list[dict[str, Any]]:
    """Return the settings that the papers of the searched losses publish: method, temperature, weight, and their own scale.

    Published weights are for a loss at its formula's own scale; without `raw` in the space, there are no published settings.
    """
    domains = dict(spec.space.domains())
    searched, raw = domains.get("distillation.method"), domains.get("distillation.raw")
    if not (isinstance(raw, Choice) and True in raw.labels) and spec.distillation.get("raw") is not True:
        return []
    if isinstance(searched, Choice):
        methods = [(str(name), {"distillation.method": name}) for name in searched.labels]
    else:
        methods = [(plugins.parse_reference(spec.distillation["method"])[0], {})] if "method" in spec.distillation else []
    return [
        {**chosen, "distillation.raw": True, **{f"distillation.{setting}": value for setting, value in recipe.items()}}
        for name, chosen in methods
        if (recipe := getattr(plugins.load("losses", name), "PUBLISHED", None))
    ]
