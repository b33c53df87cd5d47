"""The pages name every key of a spec, and name no plugin, module or function that does not exist."""

from __future__ import annotations

import importlib
import re
import runpy
from functools import reduce

import pytest

from tests.docs.pages import NAMES, ROOT, prose, text
from tutelage import plugins
from tutelage.losses import compares_sequences
from tutelage.spec.reference import spec_settings

TABLES = {  # a family, and where its plugins are the first column of a table
    "data": ("docs/data-and-networks.md", "## Data"),
    "losses": ("docs/distillation.md", "## Losses"),
    "measures": ("docs/measures.md", "# What a number means"),
    "policies": ("docs/selection.md", "## Policies"),
    "rules": ("docs/early-stopping.md", "# Early stopping"),
    "samplers": ("docs/search.md", "## Samplers"),
    "sparsity": ("docs/sparsity.md", "# Sparsity"),
    "tasks": ("docs/data-and-networks.md", "## Tasks"),
    "models": ("docs/data-and-networks.md", "## Networks"),
}
NO_MEASURE = {"test.value", "confirmed_mean", "…_low", "…_high", "hypervolume"}  # rows about other numbers

TAGS = {"tutelage.candidates", "tutelage.guard", "tutelage.key"}  # of MLflow


def test_the_page_of_the_spec_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "spec_page.py"))["page"]()
    assert text("docs/spec.md") == page, "a key has changed: `make docs` writes docs/spec.md"


def test_the_page_of_the_spec_names_every_key() -> None:
    names = [setting.name for setting in spec_settings()]
    assert len(names) > 100 and {"student.model", "guard.max_drop", "search.stopping.rule"} <= set(names)
    missing = [name for name in names if f"| `{name}` |" not in text("docs/spec.md")]
    assert not missing
    assert all(setting.meaning for setting in spec_settings())


def named(family: str) -> set[str]:
    """Return the names in the first column of a family's table: the first table below its heading."""
    page, heading = TABLES[family]
    _, found, below = prose(page).partition(f"{heading}\n")
    assert found, f"{page} has no heading '{heading}'"
    (table,) = re.findall(r"\A(?s:.*?)((?:^\|.*\n)+)", below.split("\n#")[0] + "\n", re.MULTILINE)
    rows = re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)[1:]  # without the header
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)} - {"module:Name"} - NO_MEASURE


@pytest.mark.parametrize("family", sorted(plugins.FAMILIES))
def test_a_page_names_only_plugins_that_exist(family: str) -> None:
    """What the package has beside them is listed by `tutelage list`, and has a page of `make docs`."""
    assert named(family)
    assert named(family) <= set(plugins.names(family))


def test_the_page_says_rightly_which_losses_compare_label_sequences() -> None:
    rows = re.findall(r"^\| (each one|none)[^|]*\|([^|]*)\|$", prose("docs/distillation.md"), re.MULTILINE)
    found = {name: kind == "each one" for kind, listed in rows for name in re.findall(r"`([^`]+)`", listed)}
    assert set(found) >= {"kd", "relations", "hidden", "sequence", "mixture"}
    for name, compares in found.items():
        options = {"terms": {"kd": 1.0}} if name == "mixture" else {}
        _, plugin, config = plugins.configure("losses", {name: options})
        assert compares_sequences(plugin, config) == compares, name


@pytest.mark.parametrize("page", [page for page in NAMES if "`tutelage." in prose(page)])
def test_a_page_names_only_what_the_package_has(page: str) -> None:
    missing = {name for name in re.findall(r"`(tutelage(?:\.\w+)+)", prose(page)) if not _exists(name)} - TAGS
    assert not missing, f"{page} names {', '.join(sorted(missing))}"


def _exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(lambda found, part: getattr(found, part, None), parts[length:], module) is not None
    return False
