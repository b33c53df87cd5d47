"""The size-aware sampler: what it suggests, what it never suggests, and that it is reproducible."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import pareto
from tutelage.search.size_aware import STARTUP, SizeAware, SizeLosses, varied
from tutelage.spec.distributions import parse
from tutelage.spec.domains import Choice
from tutelage.spec.space import Space

SPACE = Space(parse({
    "model": {"choice": {"mlp": {"hidden": {"int": [4, 256], "log": True}}, "conv": {"width": {"int": [2, 32], "log": True}}}},
    "rate": {"float": [1e-3, 0.1], "log": True},
    "share": {"float": [0.0, 0.6], "step": 0.2},
}))  # fmt: skip
Params = dict[str, Any]


def size_losses(params: Params) -> np.ndarray:
    size = 64.0 * params["model.mlp.hidden"] if params["model"] == "mlp" else 90.0 * params["model.conv.width"] ** 1.5
    return np.array([math.log10(size * (1 - params["share"]))])


def end(params: Params) -> float:
    """A convnet is better than others of its size, and the best rate is 0.01."""
    gift = 0.0 if params["model"] == "mlp" else -0.3
    return float(-0.4 * size_losses(params)[0] + gift + 0.5 * math.log10(params["rate"] / 0.01) ** 2)


def size_aware(seed: int, known: SizeLosses = size_losses) -> SizeAware:
    return SizeAware(SPACE, known, seed, np.array([5.0, 1.0]))


def search(seed: int, trials: int, chooser: SizeAware | None) -> list[Params]:
    random, found = Random(seed), []
    for number in range(trials):
        params = chooser.suggest(number) if chooser else None
        params = dict(params or _random(random))
        if chooser:
            chooser.started(number, params, size_losses(params))
            chooser.finished(number, end(params))
        found.append(params)
    return found


def _random(random: Random) -> Params:
    from tutelage.spec.domains import any_value

    return SPACE.resolve(lambda name, domain: any_value(random, domain))[1]


def volume(students: list[Params]) -> float:
    return pareto.hypervolume([[size_losses(one)[0], end(one)] for one in students], [5.0, 1.0])


@pytest.mark.slow
def test_it_is_nearer_to_the_front_than_random_search_with_a_quarter_of_the_students() -> None:
    for seed in range(3):
        chosen = search(seed, 40, size_aware(seed))
        assert volume(chosen) > volume(search(seed, 160, None))
        rates = [abs(math.log10(one["rate"] / 0.01)) for one in chosen[-15:]]
        assert np.median(rates) < 0.25, "the best rate is found"


@pytest.mark.slow
def test_no_suggestion_precedes_the_first_results_and_none_is_repeated() -> None:
    chooser = size_aware(0)
    assert chooser.suggest(0) is None
    chosen = search(0, 60, size_aware(0))
    keys = [tuple(sorted(one.items())) for one in chosen[STARTUP:]]
    assert len(set(keys)) == len(keys)


@pytest.mark.slow
def test_a_restarted_driver_with_the_same_history_gets_the_same_suggestion() -> None:
    live, back = size_aware(3), size_aware(3)
    found = search(3, 30, live)
    for number, params in enumerate(found):
        back.started(number, params, size_losses(params))
    for number, params in reversed(list(enumerate(found))):
        back.finished(number, end(params))
    assert back.suggest(30) == live.suggest(30)
    assert live.suggest(30) != live.suggest(31)


def test_rejected_sizes_are_never_suggested_and_students_without_a_size_are_random() -> None:
    def small(params: Params) -> np.ndarray | None:
        known = size_losses(params)
        return known if known[0] < 3 else None

    chooser = size_aware(0, small)
    for number, params in enumerate(search(1, 20, None)):
        chooser.started(number, params, size_losses(params))
        chooser.finished(number, end(params))
    for number in range(20, 40):
        proposed = chooser.suggest(number)
        assert proposed is not None and size_losses(dict(proposed))[0] < 3
    nobody = size_aware(0, lambda params: None)
    nobody.started(0, search(0, 1, None)[0], None)
    nobody.finished(0, -1.0)
    assert nobody.suggest(1) is None


def test_neighbours_of_running_students_are_not_suggested() -> None:
    """A running student counts with its expected result: several workers do not get the same student."""
    chooser = size_aware(0)
    for number, params in enumerate(search(2, 25, None)):
        chooser.started(number, params, size_losses(params))
        chooser.finished(number, end(params))
    first = chooser.suggest(25)
    assert first is not None
    chooser.started(25, first, size_losses(dict(first)))
    second = chooser.suggest(25)
    assert second != first
    chooser.discarded(25)
    assert chooser.suggest(25) == first


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6))
def test_a_neighbour_is_in_the_space_and_differs_little(seed: int) -> None:
    random = Random(seed)
    params = _random(random)
    near = varied(SPACE, params, random)
    domains = dict(SPACE.domains())
    for name, value in near.items():
        domain = domains[name]
        if isinstance(domain, Choice):
            assert value in domain.labels
        else:
            assert domain.low <= value <= domain.high
            assert domain.step is None or (value - domain.low) / domain.step == pytest.approx(
                round((value - domain.low) / domain.step)
            )
    assert SPACE.resolve(lambda name, domain: near[name])[1] == near
