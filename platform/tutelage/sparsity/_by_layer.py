"""Options for single layers, given by name or by a pattern with * and ?."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from tutelage.errors import InputError, nearest


def value_for(options: Mapping[str, float], layers: Iterable[str], otherwise: float | None = None) -> float | None:
    """Return an option's value for coupled layers: by a layer's own name, else by the first pattern that matches a layer."""
    names = list(layers)
    own = [options[name] for name in names if name in options]
    matching = [value for pattern, value in options.items() for name in names if fnmatchcase(name, pattern)]
    return next(iter([*own, *matching]), otherwise)


def check(option: str, options: Mapping[str, float], groups: Sequence[Iterable[str]]) -> None:
    """Raise `InputError` for a name or pattern that fits no layer in `groups`, and for unequal values of coupled layers.

    `groups` are the coupled layers that can become smaller; `option` is the option's name in the message.
    """
    by_group = [sorted(layers) for layers in groups]
    known = sorted({name for names in by_group for name in names})
    for pattern in options:
        if not any(fnmatchcase(name, pattern) or name == pattern for name in known):
            raise InputError(
                f"sparsity.method {option}: '{pattern}' is not a layer that can become smaller, and matches none."
                f"{nearest(pattern, known)} Such layers: {', '.join(known)}."
            )
    for names in by_group:
        if len({options[name] for name in names if name in options}) > 1:
            given = ", ".join(f"{name}: {options[name]:g}" for name in names if name in options)
            raise InputError(
                f"sparsity.method {option}: coupled layers lose the same units, but have different {option}: {given}. "
                "Keep one of them."
            )
