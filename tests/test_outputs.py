"""Files that a user names: written as a user means it, or refused with the reason."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tutelage.errors import InputError, UnreachableError
from tutelage.outputs import write_output


def test_a_new_file_is_written_with_the_users_mode_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_output(tmp_path / "new.csv", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o640
    (tmp_path / "new.csv").chmod(0o600)
    write_output(tmp_path / "new.csv", b"b")
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o600
    assert (tmp_path / "new.csv").read_text() == "b" and os.listdir(tmp_path) == ["new.csv"]


def test_links_stay_and_what_they_point_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link, hard = tmp_path / "far" / "target", tmp_path / "link", tmp_path / "hard"
    link.symlink_to("far/target")
    write_output(link, "a long first text")
    os.link(target, hard)
    write_output(link, "second")
    assert link.is_symlink() and target.read_text() == hard.read_text() == "second"
    write_output(hard, "third")
    assert target.read_text() == "third"


def test_a_pipe_and_a_device_are_written_through(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    content = bytes(200_000)  # more than a pipe holds
    write_output(pipe, content)
    reader.join(10)
    assert read == [content] and stat.S_ISFIFO(pipe.stat().st_mode)
    write_output(Path("/dev/null"), "x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no/such/file", "there is no directory .*/no\\."), ("dir", "it is a directory"), ("file/x", "file is not a directory"),
        ("circle", "cannot be written"), ("dangling", "cannot be written"), ("", "it is a directory"),
    ],
)  # fmt: skip
def test_a_place_where_no_file_can_be_is_an_input_error(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("nowhere/x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=said):
        write_output(tmp_path / name, "x")
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(UnreachableError, match="No space left"):
        write_output(Path("/dev/full"), "x")
