from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.spec.distributions import SpaceError, parse, parse_all
from tutelage.spec.domains import Choice, Domain, Float, Int
from tutelage.spec.space import Space

TREE: dict[str, Any] = {
    "student": {
        "epochs": 3,
        "model": {
            "choice": {
                "convnet": {"width": {"int": [4, 64], "log": True}, "depth": {"int": [1, 4]}},
                "mlp": {"hidden": {"int": [8, 256]}, "norm": {"choice": ["none", "layer"]}},
            }
        },
    },
    "distillation": {"temperature": {"float": [1, 20], "log": True}, "weight": {"float": [0, 1], "step": 0.25}},
}


def draw_from(generator: random.Random) -> Any:
    def draw(name: str, domain: Domain) -> Any:
        if isinstance(domain, Choice):
            return generator.choice(domain.labels)
        if isinstance(domain, Int):
            return generator.randint(domain.low, domain.high)
        return generator.uniform(domain.low, domain.high)

    return draw


@given(st.integers(0, 10_000))
def test_a_config_is_rebuilt_from_its_params(seed: int) -> None:
    space = Space(parse(TREE))
    config, params = space.resolve(draw_from(random.Random(seed)))
    again, params_again = space.resolve(lambda name, domain: params[name])
    assert again == config
    assert params_again == params


@given(st.integers(0, 10_000))
def test_only_the_chosen_branch_is_sampled(seed: int) -> None:
    config, params = Space(parse(TREE)).resolve(draw_from(random.Random(seed)))
    chosen = params["student.model"]
    assert list(config["student"]["model"]) == [chosen]
    branches = {name.split(".")[2] for name in params if name.startswith("student.model.")}
    assert branches == {chosen}
    assert config["student"]["epochs"] == 3


def test_names_are_of_active_and_inactive_hyperparameters_in_order() -> None:
    assert Space(parse(TREE)).names() == [
        "student.model",
        "student.model.convnet.width",
        "student.model.convnet.depth",
        "student.model.mlp.hidden",
        "student.model.mlp.norm",
        "distillation.temperature",
        "distillation.weight",
    ]


def test_corners_contain_every_end_of_a_range_and_every_branch() -> None:
    space = Space(parse(TREE))
    seen: dict[str, set[Any]] = {}

    for corner in space.corners():

        def note(node: Any, path: str) -> None:
            if isinstance(node, dict):
                for key, value in node.items():
                    note(value, f"{path}.{key}" if path else key)
            else:
                seen.setdefault(path, set()).add(node)

        note(corner, "")
    assert seen["student.model.convnet.width"] == {4, 64}
    assert seen["student.model.mlp.hidden"] == {8, 256}
    assert seen["student.model.mlp.norm"] == {"none", "layer"}
    assert seen["distillation.weight"] == {0.0, 1.0}


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ({"float": [5, 1]}, "above high"),
        ({"float": [0, 1], "log": True}, "starts above 0"),
        ({"int": [1, 4], "step": 0}, "step must be above 0"),
        ({"int": [1, 4], "step": 1, "log": True}, "exclude each other"),
        ({"int": [1, 2.5]}, "whole number"),
        ({"int": [True, 4]}, "whole number"),
        ({"float": [1, float("nan")]}, "not a number"),
        ({"float": [1]}, "needs [low, high]"),
        ({"choice": []}, "not empty"),
        ({"choice": {}}, "not empty"),
        ({"float": [1, 10**400]}, "not a number"),
        ({"float": [1, 2], "lgo": True}, "Did you mean 'log'"),
        ({"float": [1, 2], "int": [1, 2]}, "exclude each other"),
        ({"choice": [float("inf")]}, "finite"),
        ({"choice": [1, True]}, "each branch once"),
        ({"choice": [1, 1]}, "each branch once"),
        ({"choice": [[1]]}, "words, numbers"),
        ({"choice": [1, 2], "log": True}, "takes no 'log'"),
    ],
)
def test_an_impossible_distribution_is_an_error_with_place_and_reason(node: Any, why: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse({"distillation": {"weight": node}})
    assert why in caught.value.why
    assert caught.value.path == "distillation.weight"


def test_a_plain_mapping_is_no_distribution() -> None:
    assert parse({"convnet": {"width": 3}}) == {"convnet": {"width": 3}}
    assert isinstance(parse({"float": [0, 1]}), Float)


def test_all_impossible_distributions_are_found_with_undotted_paths() -> None:
    tree = {"a": {"choice": {"m.n:X": {"width": {"int": [3, 1]}}, "b": 3}}, "c": [{"float": [0, 1], "log": True}], "d": 1}
    parsed, problems = parse_all(tree)
    assert [problem.parts for problem in problems] == [("a", "m.n:X", "width"), ("a", "b"), ("c", "0")]
    assert parsed["d"] == 1


def test_a_distribution_in_a_list_is_named_by_its_position() -> None:
    space = Space(parse({"widths": [{"int": [1, 4]}, 8]}))
    assert space.names() == ["widths.0"]
    assert space.resolve(lambda name, domain: 3) == ({"widths": [3, 8]}, {"widths.0": 3})


RANGES = st.tuples(st.integers(1, 50), st.integers(0, 50), st.booleans(), st.sampled_from(["int", "float"])).map(
    lambda r: {r[3]: [r[0], r[0] + r[1]], "log": r[2]}
)
NAMES = st.sampled_from(["red", "green", "blue"])
LEAVES = RANGES | st.integers() | st.lists(st.sampled_from("xyz"), min_size=1, unique=True).map(lambda b: {"choice": b})
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: st.dictionaries(NAMES, st.dictionaries(NAMES, inner), min_size=1).map(lambda b: {"choice": b}),
        max_leaves=8,
    ),
    min_size=1,
)


@given(TREES, st.integers(0, 10_000))
def test_any_tree_is_rebuilt_from_its_params(tree: dict[str, Any], seed: int) -> None:
    space = Space(parse(tree))
    config, params = space.resolve(draw_from(random.Random(seed)))
    assert space.resolve(lambda name, domain: params[name]) == (config, params)
    assert set(params) <= set(space.names())


@pytest.mark.slow
@given(TREES)
def test_the_corners_of_any_tree_contain_every_low_high_and_label(tree: dict[str, Any]) -> None:
    space = Space(parse(tree))
    wanted = {
        (name, end)
        for name, domain in space.domains()
        for end in (domain.labels if isinstance(domain, Choice) else (domain.low, domain.high))
    }
    hit: set[tuple[str, Any]] = set()
    for corner in space.corners():
        hit |= values_in(space.tree, corner, "")
    assert hit == wanted


def values_in(node: Any, value: Any, path: str) -> set[tuple[str, Any]]:
    """Return the (name, value) pairs that a resolved config took, read off the config itself."""
    if isinstance(node, Choice):
        if not node.is_mapping:
            return {(path, value)}
        ((label, below),) = value.items()
        return {(path, label)} | values_in(node.branches[label], below, f"{path}.{label}")
    if isinstance(node, Float | Int):
        return {(path, value)}
    found: set[tuple[str, Any]] = set()
    for key in node if isinstance(node, dict) else ():
        found |= values_in(node[key], value[key], f"{path}.{key}" if path else key)
    return found
