"""What make removes: its own output, never a user's sweeps, registry or MLflow database."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("target", ["clean", "demo"])
def test_make_leaves_the_users_storage(target: str) -> None:
    command = ["make", "--dry-run", "--always-make", target]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    removed = [path for line in lines if line.startswith("rm ") for path in line.split()[2:]]
    assert ".tutelage-demo" in removed
    assert ".tutelage" not in removed and "exports" not in removed and not any(".tutelage/" in path for path in removed)


def test_the_demo_works_in_its_own_storage() -> None:
    command = ["make", "--dry-run", "demo"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    steps = [line for line in lines if re.match(r"\S*/tutelage (?!schema)", line)]
    assert len(steps) == 3
    assert all("storage=.tutelage-demo" in step or "--storage .tutelage-demo" in step for step in steps)


def test_make_setup_writes_the_schema_that_the_shipped_specs_name_and_git_ignores_it() -> None:
    """It holds the names of all plugins: if git kept it, every new plugin would change a further file."""
    command = ["make", "--dry-run", "--always-make", "setup"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    assert any(line.endswith("/tutelage schema > search_spaces/spec.schema.json") for line in lines)
    assert "/search_spaces/spec.schema.json" in (ROOT / ".gitignore").read_text().splitlines()


def test_dependencies_are_ranges_for_users_and_pins_for_us() -> None:
    """Every direct dependency has a lowest version and no pin, and constraints.txt pins one within its range."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pins = {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines)}
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        requirement = Requirement(line)
        operators = {one.operator for one in requirement.specifier}
        assert operators <= {">=", "<"} and ">=" in operators, line
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line
