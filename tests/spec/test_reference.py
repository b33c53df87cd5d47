"""The settings of configs as people read them: names, allowed values, defaults, search ranges."""

from __future__ import annotations

import pytest
from pydantic import Field

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.plugins import PluginConfig
from tutelage.spec.reference import option_rows, settings, spec_settings

WITH_OPTIONS = [
    (family, name) for family in plugins.FAMILIES if family != "measures" for name in plugins.names(family)
]  # fmt: skip


class Inner(PluginConfig):
    """A section."""

    share: float = Field(0.5, gt=0, le=1, description="a share")


class Outer(PluginConfig):
    """One field of each kind."""

    count: int = Field(description="must be given")
    at_most: float | None = Field(None, lt=2.5, description="a bound above")
    sign: str = Field(".", description="text")
    names: list[str] = Field(default_factory=list, description="several")
    inner: Inner = Field(Inner(), description="a section")


def test_each_kind_of_field_has_its_values_and_default() -> None:
    assert [tuple(one)[:3] for one in settings(Outer)] == [
        ("count", "whole number", "required"),
        ("at_most", "number < 2.5 or null", "null"),
        ("sign", "word", "."),
        ("names", "list of words", "empty"),
        ("inner", "section", "{share: 0.5}"),
        ("inner.share", "number > 0, ≤ 1", "0.5"),
    ]


def test_the_settings_of_a_spec_stand_in_its_sections() -> None:
    found = {one.name: one for one in spec_settings()}
    assert found["student.epochs"].values == "whole number 1 to 100000" and found["student.epochs"].default == "20"
    assert found["student.model"].values == "plugin" and found["student.model"].default == "required"
    assert found["search.objectives"].values == "list of measures"
    assert found["guard.against"].values == "dense, best, teacher"
    assert "student" not in found


def test_the_options_of_a_plugin_have_the_ranges_of_search() -> None:
    rows = {row["option"]: row for row in option_rows("models", "resnet")}
    assert rows["width"] == {
        "option": "width", "values": "whole number 1 to 1024", "default": "16", "searched": "{int: [4, 64], log: true}",
        "meaning": "channels of the first stage",
    }  # fmt: skip
    assert rows["stem"]["searched"] == ""
    with pytest.raises(InputError, match="Did you mean 'resnet'"):
        option_rows("models", "resnett")


@pytest.mark.parametrize(("family", "name"), WITH_OPTIONS)
def test_every_option_of_a_plugin_is_described(family: str, name: str) -> None:
    rows = option_rows(family, name)
    assert [row["option"] for row in rows] == list(plugins.load(family, name).Config.model_fields)
    assert all(row["meaning"] and row["values"] for row in rows)
