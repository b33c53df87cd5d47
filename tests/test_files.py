"""Paths and texts that users give: `~` is resolved, only line feeds end lines, and what cannot be read is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.errors import InputError
from tutelage.files import existing, existing_folder, expanded, read_lines
from tutelage.outputs import write_output
from tutelage.spec import loading
from tutelage.storage import as_directory


@pytest.mark.parametrize("reads", [expanded, existing, as_directory, lambda path: write_output(Path(path), "text")])
@pytest.mark.parametrize(("path", "words"), [
    ("~nobody-of-this-name/x", "no home directory"), ("a\0b", "zero byte"), ("a" * 256, "a name of 256 bytes"),
    ("ü" * 128, "a name of 256 bytes"),
])  # fmt: skip
def test_a_path_that_no_file_can_have_is_an_error(reads: Callable[[str], object], path: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        reads(path)


def test_other_paths_are_resolved(tmp_path: Path) -> None:
    assert expanded("~/x") == Path.home() / "x" and expanded("ü" * 127) == Path("ü" * 127)
    (tmp_path / "file").write_text("")
    assert existing_folder(str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match="is a file"):
        existing_folder(str(tmp_path / "file"))


def test_a_storage_of_an_unknown_user_is_a_problem_of_the_spec() -> None:
    with pytest.raises(InputError, match="no home directory"):
        loading.from_dict({
            "name": "a", "data": "digits", "storage": "~nobody-of-this-name/x", "teacher": {"model": "mlp"},
            "student": {"model": "mlp"},
        })  # fmt: skip


@pytest.mark.parametrize(("data", "lines"), [
    (b"", []), (b"\n", [""]), ("\ufeffa\r\nb\n\n".encode(), ["a", "b", ""]),
    ("a\u2028b\x0bc\x0cd\x85e\x1cf\ng".encode(), ["a\u2028b\x0bc\x0cd\x85e\x1cf", "g"]),
])  # fmt: skip
def test_only_line_feeds_end_lines(data: bytes, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert read_lines(tmp_path / "file") == lines


def test_a_file_that_is_not_utf8_or_cannot_be_read_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc\xff")
    with pytest.raises(InputError, match=r"is not UTF-8 .*at byte 3.*Save it as UTF-8"):
        read_lines(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_lines(tmp_path)
