from __future__ import annotations

from typing import Any

import pytest

from tutelage.search.first_trials import extreme, first_suggestions, resolved
from tutelage.spec import loading
from tutelage.spec.distributions import parse
from tutelage.spec.space import Space
from tutelage.sweep.published import published_recipes

SPACE = Space(parse({
    "model": {"choice": {"mlp": {"hidden": {"int": [8, 128], "log": True}}, "conv": {"width": {"int": [2, 9]}, "deep": 2}}},
    "rate": {"float": [0.1, 10.0], "log": True},
    "share": {"float": [0.0, 0.6], "step": 0.2},
}))  # fmt: skip
DEFAULTS: dict[str, Any] = {"rate": 0.5, "model.conv.width": 4, "share": 7.0}


def size_of(config: dict[str, Any]) -> float:
    ((_, options),) = config["model"].items()
    return float((options.get("hidden", 0) * 10 + options.get("width", 0)) * (1 - config["share"]))


def test_a_first_trial_has_defaults_where_the_space_allows_them_and_middles_elsewhere() -> None:
    assert resolved(SPACE, DEFAULTS.get, {}) == {
        "model": "mlp", "model.mlp.hidden": 32, "rate": 0.5, "share": pytest.approx(0.2),
    }  # fmt: skip
    assert resolved(SPACE, DEFAULTS.get, {"model": "conv"})["model.conv.width"] == 4


def test_the_smallest_and_the_largest_are_found_across_branches() -> None:
    start = resolved(SPACE, DEFAULTS.get, {})
    smallest, largest = (extreme(SPACE, start, size_of, sign) for sign in (1, -1))
    assert (smallest["model"], smallest["model.conv.width"], smallest["share"]) == ("conv", 2, pytest.approx(0.6))
    assert (largest["model"], largest["model.mlp.hidden"], largest["share"]) == ("mlp", 128, 0.0)
    assert extreme(SPACE, start, lambda config: None, 1) == start, "where training decides sizes, nothing is known"


def test_initial_configs_are_distinct_ordered_and_at_most_the_requested_number() -> None:
    found = first_suggestions(SPACE, DEFAULTS.get, size_of, most=9)
    assert [one.origin for one in found] == ["default", "smallest", "largest", "default"]
    assert found[-1].params["model"] == "conv"
    assert first_suggestions(SPACE, DEFAULTS.get, size_of, most=2) == found[:2]
    fixed = first_suggestions(Space({"rate": 3}), DEFAULTS.get, lambda config: 1.0, most=9)
    assert [one.params for one in fixed] == [{}]


def test_published_recipes_follow_the_extremes_where_the_space_contains_them() -> None:
    recipes = [{"model": "conv", "rate": 2.0, "elsewhere": 1}, {"rate": 99.0, "share": 0.4}]
    found = first_suggestions(SPACE, DEFAULTS.get, size_of, 9, recipes)
    assert [one.origin for one in found] == ["default", "smallest", "largest", "published", "published", "default"]
    assert (found[3].params["model"], found[3].params["rate"]) == ("conv", 2.0)
    assert (found[4].params["rate"], found[4].params["share"]) == (0.5, pytest.approx(0.4)), "99 is out of the range"


TREE = {"name": "a", "data": "digits", "teacher": {"model": "mlp"}, "student": {"model": "mlp"}}
SEARCHED = {"temperature": {"float": [1, 8]}, "weight": {"float": [0, 0.95]}}


@pytest.mark.parametrize("raw", [True, {"choice": [False, True]}])
def test_the_settings_of_each_searched_losss_paper_are_suggested_at_the_papers_scale(raw: Any) -> None:
    method = {"choice": {"kd": {}, "dist": {}, "similarity": {}}}
    spec = loading.from_dict({**TREE, "distillation": {**SEARCHED, "method": method, "raw": raw}})
    assert published_recipes(spec) == [
        {
            "distillation.method": "kd", "distillation.raw": True,
            "distillation.temperature": 4.0, "distillation.weight": 0.9,
        },
        {
            "distillation.method": "dist", "distillation.raw": True,
            "distillation.temperature": 4.0, "distillation.weight": 0.5,
        },
    ]  # fmt: skip
    found = first_suggestions(spec.space, spec.default_of, lambda config: 1.0, 9, published_recipes(spec))
    published = [one.params for one in found if one.origin == "published"]
    assert len(published) == 2 and {params.get("distillation.raw", raw) for params in published} == {True}


@pytest.mark.parametrize("raw", [{}, {"raw": False}, {"raw": {"choice": [False]}}])
def test_published_weights_are_not_suggested_for_scaled_losses(raw: Any) -> None:
    assert published_recipes(loading.from_dict({**TREE, "distillation": {**SEARCHED, **raw}})) == []
