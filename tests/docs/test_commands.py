"""The commands that README and docs show exist, with the options that they are shown with; specs and settings load."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from typing import Any

import click
import pytest
import typer
import yaml

from tests.docs.pages import NAMES, ROOT, blocks, commands, text
from tutelage import cli
from tutelage.spec import loading

PROGRAM: Any = typer.main.get_command(cli.app)
SHOWN = [(name, command) for name in NAMES for command in commands(name)]
SPECS = [
    (name, code)
    for name in NAMES
    if not name.startswith("docs/plugins")  # test_examples.py loads those beside their modules
    for code in blocks(name, "yaml")
    if re.search(r"^name:", code, re.MULTILINE)
]


@pytest.mark.parametrize(("page", "command"), [one for one in SHOWN if one[1].startswith("tutelage ")])
def test_a_command_and_its_options_exist(page: str, command: str) -> None:
    words = command.replace("[", " ").replace("]", " ").split()[1:]
    name = words[0]
    if name == "…":
        return
    assert name in PROGRAM.commands, f"{page}: {command}"
    known = {option for parameter in PROGRAM.commands[name].params for option in parameter.opts} | {"--help"}
    for word in words[1:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{page}: tutelage {name} has no {word}"


@pytest.mark.parametrize(("page", "command"), [one for one in SHOWN if one[1].startswith("make ")])
def test_a_make_target_exists(page: str, command: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert shlex.split(command)[1] in targets, f"{page}: {command}"


@pytest.mark.parametrize(("page", "command"), [one for one in SHOWN if one[1].startswith("python tests/")])
def test_a_benchmark_and_its_options_exist(page: str, command: str) -> None:
    file, *words = shlex.split(command)[1:]
    source = (ROOT / file).read_text(encoding="utf-8")
    missing = [word for word in words if word.startswith("--") and f'"{word}"' not in source]
    assert not missing, f"{page}: {file} has no {', '.join(missing)}"


@pytest.mark.parametrize(("page", "command"), [one for one in SHOWN if re.match(r"tutelage \w+ search_spaces/", one[1])])
def test_the_spec_of_a_command_loads_with_its_settings(page: str, command: str) -> None:
    words = shlex.split(command)
    settings = [value for option, value in pairwise(words) if option == "--set" and "my_" not in value]
    assert loading.load(ROOT / words[2], settings).name, page


def test_every_command_of_the_program_is_in_the_readme() -> None:
    shown = {command.split()[1] for name, command in SHOWN if name == "README.md" and command.startswith("tutelage ")}
    assert shown >= set(PROGRAM.commands)


@pytest.mark.parametrize(("page", "code"), SPECS)
def test_a_spec_that_is_shown_loads(page: str, code: str) -> None:
    assert loading.from_dict(yaml.safe_load(code)).name


@pytest.mark.parametrize("name", sorted(PROGRAM.commands))
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    command = PROGRAM.commands[name]
    assert command.help
    missing = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and p.name != "help"]
    assert not missing, f"tutelage {name}: {missing}"


def test_the_readme_shows_a_spec_of_at_most_25_lines() -> None:
    (spec,) = blocks("README.md", "yaml")
    assert len(spec.splitlines()) <= 26
    assert "tutelage schema" in text("README.md")
