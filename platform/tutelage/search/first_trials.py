"""The initial design: the defaults, the smallest and the largest student, and published recipes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tutelage.search.suggest import SeededSuggestion
from tutelage.spec.domains import Choice, Domain, nearest_value, value_near
from tutelage.spec.space import Space

Params = dict[str, Any]


Size = Callable[[dict[str, Any]], float | None]


Default = Callable[[str], Any]


def first_suggestions(
    space: Space, default_of: Default, size_of: Size, most: int, recipes: Sequence[Params] = ()
) -> list[SeededSuggestion]:
    """Return at most `most` students to train first, each once.

    They are the defaults; the smallest and the largest student, between which the front lies; the published `recipes`, each a
    mapping of settings, those that the space has; then the defaults of each further branch of a choice. `default_of(name)` is
    the default of a setting, None if it has none; `size_of(config)` is a student's size before training, None if training
    decides it.
    """
    defaults = resolved(space, default_of, {})
    found = [SeededSuggestion(params=defaults, origin="default")]
    found.append(SeededSuggestion(params=extreme(space, defaults, size_of, sign=1), origin="smallest"))
    found.append(SeededSuggestion(params=extreme(space, defaults, size_of, sign=-1), origin="largest"))
    found += [SeededSuggestion(params=resolved(space, default_of, _within(space, one)), origin="published") for one in recipes]
    found += [SeededSuggestion(params=params, origin="default") for params in _branches(space, default_of)]
    distinct = {tuple(sorted(one.params.items())): one for one in reversed(found)}
    return [one for one in found if distinct[tuple(sorted(one.params.items()))] is one][:most]


def resolved(space: Space, default_of: Default, fixed: Mapping[str, Any]) -> Params:
    """Return the searched values that are active with `fixed` given and every other at its default."""
    return space.resolve(lambda name, domain: fixed[name] if name in fixed else _default(domain, default_of(name)))[1]


def _within(space: Space, recipe: Params) -> Params:
    """Return the settings of a recipe that are searched, numbers as the nearest value of their range."""
    found = {name: value_near(domain, recipe[name]) for name, domain in space.domains() if name in recipe}
    return {name: value for name, value in found.items() if value is not None}


def _default(domain: Domain, value: Any) -> Any:
    """Return the domain's value nearest to the default; if that is outside the domain, its first branch or its middle."""
    near = value_near(domain, value)
    if near is not None:
        return near
    if isinstance(domain, Choice):
        return domain.labels[0]
    middle = math.sqrt(domain.low * domain.high) if domain.log else (domain.low + domain.high) / 2
    return nearest_value(domain, middle)


def extreme(space: Space, start: Params, size_of: Size, sign: int) -> Params:
    """Return the smallest student (`sign` 1) or the largest (-1) that one pass over the distributions' ends finds."""
    best, least = start, _signed(space, start, size_of, sign)
    for name, domain in space.domains():
        for end in domain.labels if isinstance(domain, Choice) else (domain.low, domain.high):
            tried = resolved(space, best.get, {**best, name: end})
            size = _signed(space, tried, size_of, sign)
            if size < least:
                best, least = tried, size
    return best


def _signed(space: Space, params: Params, size_of: Size, sign: int) -> float:
    size = size_of(space.resolve(lambda name, domain: params[name])[0])
    return math.inf if size is None else sign * size


def _branches(space: Space, default_of: Default) -> Iterator[Params]:
    for name, domain in space.domains():
        if isinstance(domain, Choice) and domain.is_mapping:
            for label in domain.labels:
                yield resolved(space, default_of, {name: label})
