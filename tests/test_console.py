"""What the command line prints: text as it is, without mark-up, without commands to the terminal, without secrets."""

from __future__ import annotations

import re

import pytest

from tests.test_cli import run
from tutelage import cli, console
from tutelage.errors import InputError
from tutelage.progress import Progress
from tutelage.records.observer import StageStarted

NAMES = ("[red]x[/red]", "[/x]", "\x1b[31mred\x1b]0;title\x07", "password=hunter2")


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_lines_show_text_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.show_table([name], [[name]])
    console.show_mapping({name: name}, as_json=False)
    console.say(name)
    with Progress() as progress:
        progress(StageStarted(text=name))
    printed, told = capsys.readouterr()
    shown = name.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("hunter2", "***")
    assert printed.count(shown) == 5 and told.count(shown) == 1
    assert "\x1b" not in printed + told and "hunter2" not in printed + told


def test_an_error_message_has_no_control_characters_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise InputError("\x1b[2J postgresql://me:hunter2@host/db is out of reach")

    monkeypatch.setattr(cli, "app", fail)
    code, _, err = run(capsys, "doctor")
    assert code == 2 and err == "error: \\x1b[2J postgresql://***@host/db is out of reach\n"


def test_json_contains_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_mapping({"config": {"token": "hunter2", "rate": 0.5}}, as_json=True)
    assert capsys.readouterr().out == '{\n  "config": {\n    "token": "***",\n    "rate": 0.5\n  }\n}\n'


def test_each_of_several_sentences_has_a_line_and_names_stand_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"notes": ["one, two, three", "a second"], "searched": ["a", "b"], "empty": [], "classes": {"\n": 2, "x": 1}}
    console.show_mapping(document, as_json=False)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["notes one, two, three", "a second", "searched a, b", "empty", r"classes '\n' 2, x 1"]


def test_on_a_narrow_terminal_names_and_numbers_are_whole_and_long_texts_are_shortened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.out, "_width", 60)
    header = ["trial", *(f"measure {number}" for number in range(8)), "made"]
    row = ["t0005.2", *(1_234_567.0 + number for number in range(8)), "channels by l2, then " * 6]
    console.show_table(header, [row, row])
    for line in capsys.readouterr().out.splitlines()[1:]:
        assert line.startswith("t0005.2 ") and all(f"1,234,56{7 + number}" in line for number in range(3))
        assert re.search(r"channels by l2, then channels \w+…$", line), "a column more or less, by the version of rich"
    console.show_table(["name", "summary"], [["a", "one sentence of a summary, which is long"]])
    assert "one sentence of a summary, which is long" in capsys.readouterr().out
