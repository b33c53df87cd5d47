"""README's Python and the package docstring's example are one, and it runs."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

import tutelage
from tests.conftest import SMALL_SPEC
from tests.docs.pages import blocks
from tutelage.records.sweep_dir import SweepDir


def docstring_example() -> str:
    """Return the indented lines of the package docstring."""
    lines = (inspect.getdoc(tutelage) or "").splitlines()
    return textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line)).strip() + "\n"


def test_the_package_docstring_shows_what_the_readme_shows() -> None:
    assert [docstring_example()] == blocks("README.md", "python")


@pytest.mark.ray
@pytest.mark.slow
def test_the_example_runs(small_sweep: SweepDir, tmp_path: Path) -> None:
    """In the storage of another sweep, which has the teacher."""
    spec = tmp_path / "tiny.yaml"
    student = {"epochs": 2, "model": {"mlp": {"hidden": {"int": [8, 16]}}}}
    search = {"trials": 2, "concurrency": 1}
    tiny = {**SMALL_SPEC, "name": "example", "student": student, "storage": small_sweep.storage.uri, "search": search}
    spec.write_text(yaml.safe_dump(tiny))
    names: dict[str, Any] = {}
    code = docstring_example()
    assert '"search_spaces/digits.yaml"' in code
    exec(code.replace('"search_spaces/digits.yaml"', repr(str(spec))), names)
    assert len(names["front"](names["home"])) >= 1
    assert names["home"].files.local_path("selection.json").exists()
