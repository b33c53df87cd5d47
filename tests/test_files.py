"""Paths that users give: `~` is resolved, and what no file can be called is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.errors import InputError
from tutelage.files import existing, existing_folder, expanded
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
