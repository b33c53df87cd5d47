from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tests.plain import plain_signature
from tutelage import plugins
from tutelage.errors import InputError

Write = Callable[[str, str], None]
NET = """
from pydantic import Field
from tutelage.plugins import PluginConfig

class Net:
    \"\"\"A network of my own.

    More.
    \"\"\"
    class Config(PluginConfig):
        width: int = Field(3, ge=1)
        rate: float = 0.5
    build = print

BARE = 3
"""


def test_listing_and_summaries_import_no_plugin() -> None:
    code = (
        "import sys\nfrom tutelage import plugins\n"
        "for f in plugins.FAMILIES:\n    for n in plugins.names(f): assert plugins.summary(f, n)\n"
        "print([m for m in sys.modules if m == 'torch' or m.startswith('tutelage.models')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("reference", "name", "options"),
    [("mlp", "mlp", {}), ({"mlp": None}, "mlp", {}), ({"m:X": {"a": 1}}, "m:X", {"a": 1})],
)
def test_a_reference_is_a_name_or_a_name_with_options(reference: Any, name: str, options: dict[str, Any]) -> None:
    assert plugins.parse_reference(reference) == (name, options)


@pytest.mark.parametrize("reference", [None, 3, [], {}, {"a": {}, "b": {}}, {3: {}}, {"mlp": 3}])
def test_anything_but_a_reference_is_an_error(reference: Any) -> None:
    with pytest.raises(InputError, match="names no plugin"):
        plugins.parse_reference(reference)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("convnt", "Did you mean 'convnet'"),
        ("no_such_module:X", "cannot be imported: ModuleNotFoundError"),
        ("own_net:Nett", "Did you mean 'Net'"),
        ("own_net:BARE", "lacks Config and build"),
        ("broken_net:X", "cannot be imported: SyntaxError"),
        ("raising_net:X", "cannot be imported: ValueError: boom"),
        (":X", "not written as 'module:Name'"),
        (".own_net:Net", "not written as 'module:Name'"),
        ("own_net:", "not written as 'module:Name'"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_an_error_with_the_reason(name: str, why: str, user_module: Write) -> None:
    user_module("own_net", NET)
    user_module("broken_net", "def (")
    user_module("raising_net", "raise ValueError('boom')")
    with pytest.raises(InputError) as caught:
        plugins.load("models", name)
    assert why in str(caught.value)


def test_a_users_plugin_is_loaded_summarised_and_configured(user_module: Write) -> None:
    user_module("own_net", NET)
    assert plugins.summary("models", "own_net:Net") == "A network of my own."
    name, plugin, config = plugins.configure("models", {"own_net:Net": {"width": 7, "rate": 1}})
    assert (name, config.width, config.rate) == ("own_net:Net", 7, 1.0)
    assert plugin.build is print
    with pytest.raises(InputError, match="has no SPACE"):
        plugins.ranges("models", "own_net:Net")
    with pytest.raises(ValidationError):
        config.width = 8


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"widht": 3}, "Did you mean 'width'"),
        ({"width": True}, "must be a whole number"),
        ({"width": "3"}, "must be a whole number"),
        ({"width": 0}, "allowed is at least 1"),
        ({"rate": float("nan")}, "finite"),
        ({"rate": float("inf")}, "finite"),
        ({"rate": True}, "must be a number"),
    ],
)
def test_a_wrong_option_is_an_error_with_the_reason(options: dict[str, Any], why: str, user_module: Write) -> None:
    user_module("own_net", NET)
    with pytest.raises(InputError) as caught:
        plugins.configure("models", {"own_net:Net": options})
    assert why in str(caught.value)


def test_an_unknown_name_has_no_summary() -> None:
    with pytest.raises(InputError, match="Did you mean 'mlp'"):
        plugins.summary("models", "mpl")


NETWORKS = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self, num_classes: int, hidden: int = 8, bias: bool = True):
        super().__init__()
        self.stage1 = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden, bias=bias))
        self.head = nn.Linear(hidden, num_classes)
    def forward(self, inputs):
        return self.head(self.stage1(inputs).relu())

def made(example_shape, num_classes, *, depth=1):
    return nn.Sequential(nn.Flatten(), *[nn.Linear(64, 64) for _ in range(depth)], nn.Linear(64, num_classes))

class Fixed(nn.Linear):
    def __init__(self):
        super().__init__(64, 3)
"""


def test_a_plain_class_or_function_is_a_model_and_its_arguments_are_the_options(user_module: Any) -> None:
    user_module("plain_networks", NETWORKS)
    _, plugin, config = plugins.configure("models", {"plain_networks:Tiny": {"hidden": 5}})
    assert sum(p.numel() for p in plugin.build(config, plain_signature(names="abc")).parameters()) == 64 * 5 + 5 + 5 * 3 + 3
    _, plugin, config = plugins.configure("models", {"plain_networks:made": {"depth": 2}})
    assert len(plugin.build(config, plain_signature(names="abc"))) == 4
    _, plugin, config = plugins.configure("models", "plain_networks:Fixed")
    assert plugin.build(config, plain_signature((64,), "abc")).out_features == 3
    for options, match in (({"hiden": 5}, "Did you mean 'hidden'"), ({"hidden": "5"}, "hidden"), ({"bias": 1}, "bias")):
        with pytest.raises(InputError, match=match):
            plugins.configure("models", {"plain_networks:Tiny": options})
