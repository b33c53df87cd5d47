from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.space import Choice, Domain, Float, Int, Space, SpaceError, parse

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
def test_a_config_is_made_again_from_its_params(seed: int) -> None:
    space = Space(parse(TREE))
    config, params = space.resolve(draw_from(random.Random(seed)))
    again, params_again = space.resolve(lambda name, domain: params[name])
    assert again == config
    assert params_again == params


@given(st.integers(0, 10_000))
def test_only_the_chosen_branch_is_drawn(seed: int) -> None:
    config, params = Space(parse(TREE)).resolve(draw_from(random.Random(seed)))
    chosen = params["student.model"]
    assert list(config["student"]["model"]) == [chosen]
    branches = {name.split(".")[2] for name in params if name.startswith("student.model.")}
    assert branches == {chosen}
    assert config["student"]["epochs"] == 3


def test_names_hold_active_and_inactive_ones_in_order() -> None:
    assert Space(parse(TREE)).names() == [
        "student.model",
        "student.model.convnet.width",
        "student.model.convnet.depth",
        "student.model.mlp.hidden",
        "student.model.mlp.norm",
        "distillation.temperature",
        "distillation.weight",
    ]


def test_corners_touch_every_end_and_every_branch() -> None:
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
        ({"choice": [1, 1]}, "each branch once"),
        ({"choice": [[1]]}, "words, numbers"),
        ({"choice": [1, 2], "log": True}, "takes no 'log'"),
    ],
)
def test_an_impossible_distribution_says_why_and_where(node: Any, why: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse({"distillation": {"weight": node}})
    assert why in caught.value.why
    assert caught.value.path == "distillation.weight"


def test_a_plain_mapping_is_no_distribution() -> None:
    assert parse({"convnet": {"width": 3}}) == {"convnet": {"width": 3}}
    assert isinstance(parse({"float": [0, 1]}), Float)
