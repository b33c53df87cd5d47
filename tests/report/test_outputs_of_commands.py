"""`front`, `report` and `compare` write where the user says, and say what is wrong with a place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.test_compare import A, B, write
from tests.test_cli import run
from tutelage.records.trial import TrialRecord

COMMANDS = {
    "csv": ("front", "a", "--csv"), "html": ("front", "a", "--html"), "png": ("front", "a", "--png"), "report": ("report", "a"),
    "compare html": ("compare", "a", "b", "--html"), "compare png": ("compare", "a", "b", "--png"),
}  # fmt: skip


@pytest.fixture
def storage(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> Path:
    write(tmp_path / "storage", "a", make_record, A)
    write(tmp_path / "storage", "b", make_record, B)
    return tmp_path / "storage"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_its_file_through_a_link_or_gives_the_reason(
    command: str, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to("target")
    for place, expected, said in (("link", 0, ""), ("none/x", 2, "there is no directory")):
        code, _, err = run(capsys, *COMMANDS[command], tmp_path / place, "--storage", storage)
        assert code == expected and said in err, err
        assert "Traceback" not in err
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").stat().st_size > 100
