"""Which measures a spec may name: those of its task, the primary one first, the package's own, and a user's."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.foreign import blamed
from tutelage.measure import Measure


def known_measures(task: Any, further: Iterable[str] = ()) -> dict[str, Measure]:
    """Return by name what a sweep measures: the task's measures, then a user's `further` (`module:Name`), then the package's.

    Raises `InputError` for a task or a measure that is not there, and for two measures of one name.
    """
    own = [*task_measures(task), *map(plugins.measure, further)]
    ours = [plugins.measure(name) for name in plugins.names("measures")]
    found: dict[str, Measure] = {}
    for measure in [*own, *ours]:
        if found.setdefault(measure.name, measure) != measure:
            raise InputError(f"two measures are named '{measure.name}': {found[measure.name].meaning}; {measure.meaning}.")
    return found


def task_measures(reference: Any) -> tuple[Measure, ...]:
    """Return what a task measures of a student's outputs, the primary measure first; `InputError` if that is nothing."""
    name, plugin, config = plugins.configure("tasks", reference)
    with blamed(f"task '{name}': build") if ":" in name else nullcontext():
        measures = getattr(plugin.build(config), "measures", ())
    if not isinstance(measures, tuple | list) or not all(isinstance(one, Measure) for one in measures):
        raise InputError(f"task '{name}': its `measures` are {measures!r:.80}, not a tuple of tutelage.measure.Measure.")
    if not measures:
        raise InputError(f"task '{name}' has no `measures`: decisions rest on the first of them.")
    return tuple(measures)
