"""The contract of every kind of storage, found by its file; and what a local one leaves on the disk."""

from __future__ import annotations

import errno
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tutelage
from tutelage.errors import InputError
from tutelage.storage import (
    LeaseHeld,
    Storage,
    StorageDenied,
    StorageFailed,
    as_directory,
    lease_in_turn,
    local,
    open_storage,
    schemes,
)
from tutelage.storage.local import LocalStorage


@pytest.fixture(params=schemes())
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    made: Storage = importlib.import_module(f"tutelage.storage.{request.param}").scratch(tmp_path)
    return made


Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def other_process(storage: Storage) -> Iterator[Start]:
    """Give a function that runs code in another process with the same storage, and waits until it prints a line."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        begin = f"from tutelage.storage import open_storage; import sys, time, os; storage = open_storage({storage.uri!r})\n"
        process = subprocess.Popen(
            [sys.executable, "-c", begin + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout and process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_file_is_put_whole_and_put_again(storage: Storage) -> None:
    storage.put("a/b.txt", "ü")
    storage.put("a/b.txt", b"two")
    assert storage.local_path("a/b.txt").read_bytes() == b"two"
    assert storage.list("a") == ["b.txt"] and storage.list() == ["a"] and storage.list("none") == []


def test_a_draft_is_there_whole_at_the_end_and_not_at_all_before(storage: Storage) -> None:
    with storage.draft("views/0001") as draft:
        (draft / "part").write_text("1")
        assert storage.list("views") == []
    assert storage.list("views") == ["0001"]
    assert storage.local_path("views/0001/part").read_text() == "1"


def test_a_draft_that_fails_leaves_nothing(storage: Storage) -> None:
    def fail() -> None:
        with storage.draft("a") as draft:
            (draft / "part").write_text("1")
            raise ValueError("on the way")

    with pytest.raises(ValueError, match="on the way"):
        fail()
    assert storage.list() == []


@pytest.mark.parametrize(("existing", "kept"), [("keep", "first"), ("replace", "second"), ("refuse", "first")])
def test_existing_files_in_a_drafts_place_are_kept_or_replaced_or_an_error(storage: Storage, existing: str, kept: str) -> None:
    def write(text: str) -> None:
        with storage.draft("a", existing=existing) as draft:  # type: ignore[arg-type]
            (draft / text).write_text(text)

    write("first")
    if existing == "refuse":
        with pytest.raises(OSError, match="not empty"):
            write("second")
    else:
        write("second")
    assert storage.list("a") == [kept] and storage.list() == ["a"]


def test_the_draft_of_a_killed_process_is_removed_and_no_other(storage: Storage, other_process: Start) -> None:
    code = "draft = storage.draft('a'); print(draft.__enter__(), flush=True); time.sleep(60)"
    dead, _ = other_process(code), other_process(code)
    before = set(Path(storage.local_path("")).iterdir())
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    with storage.draft("a") as draft:
        (draft / "part").write_text("1")
    left = {path for path in before if path.exists()}
    assert len(before) == 2 and len(left) == 1 and storage.list() == ["a"]


def test_lines_are_appended_and_one_that_a_crash_cut_short_is_removed(storage: Storage) -> None:
    assert storage.lines("log") == []
    storage.append("log", "one")
    storage.append("log", "two\u2028still two", durable=False)
    with storage.local_path("log").open("ab") as file:
        file.write("thr\u00fc".encode()[:-1])
    assert storage.lines("log") == ["one", "two\u2028still two"]
    storage.append("log", "three")
    assert storage.lines("log") == ["one", "two\u2028still two", "three"]


def test_several_writers_of_one_file_lose_no_line(storage: Storage, other_process: Start) -> None:
    code = "print(flush=True)\nfor n in range(100): storage.append('log', f'{sys.argv} {os.getpid()} {n}' + 'x' * 5000)"
    writers = [other_process(code) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(set(storage.lines("log"))) == 300


@pytest.mark.slow
def test_a_lease_is_held_by_one_and_names_it_and_ends_with_its_process(storage: Storage, other_process: Start) -> None:
    holder = other_process("lease = storage.lease('driver'); lease.__enter__(); print(flush=True); time.sleep(60)")
    assert str(holder.pid) in str(storage.holder("driver"))
    with pytest.raises(LeaseHeld, match=f"process {holder.pid} on"), storage.lease("driver"):
        pass
    with storage.lease("another"):
        assert storage.list() == []
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert storage.holder("driver") is None
    with storage.lease("driver"):
        assert str(os.getpid()) in str(storage.holder("driver"))
        with pytest.raises(LeaseHeld), storage.lease("driver"):
            pass
    assert storage.holder("driver") is None


def test_who_waits_for_a_lease_gets_it_and_nobody_else_has_it_then(storage: Storage) -> None:
    held, most = [], []

    def work() -> None:
        for _ in range(50):
            with storage.lease("entry", wait=True):
                held.append(1)
                most.append(len(held))
                held.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200 and max(most) == 1


def test_what_is_removed_is_gone_and_what_is_not_there_is_no_matter(storage: Storage) -> None:
    storage.put("a/b", "1")
    storage.append("c", "1")
    for key in ("a", "c", "none"):
        storage.remove(key)
    assert storage.list() == [] and storage.lines("c") == []


def test_a_storage_is_the_same_in_another_process_with_another_working_directory(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("a/b", "1")
    sent = pickle.dumps(storage.within("a"))
    monkeypatch.chdir(tmp_path.parent)
    arrived = pickle.loads(sent)
    assert arrived == storage.within("a") != storage and arrived.list() == ["b"]
    assert hash(arrived) == hash(storage.within("a"))


def test_a_library_writes_to_an_absolute_path_that_stays_the_same(storage: Storage) -> None:
    place = storage.within("runs").writable_path("a/b")
    assert place.is_absolute() and place == storage.writable_path("runs/a/b")


def test_a_relative_path_is_pickled_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = LocalStorage(".tutelage")
    sent, place = pickle.dumps(here), here.writable_path("runs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(sent).writable_path("runs") == place == tmp_path / ".tutelage/runs" != here.writable_path("runs")


def test_a_path_is_a_local_storage_and_an_unknown_scheme_is_an_error(tmp_path: Path) -> None:
    assert isinstance(open_storage(tmp_path), LocalStorage)
    with pytest.raises(InputError, match="no storage 's9'"):
        open_storage("s9://bucket")


@pytest.mark.parametrize("place", ["s3://bucket/sweeps", "s3:/bucket/sweeps", "file:///data/sweeps", Path("file:///data")])
def test_a_sweeps_storage_is_a_directory_and_not_a_uri(place: str | Path) -> None:
    for reads in (as_directory, lambda storage: tutelage.find_sweep("any", storage)):
        with pytest.raises(InputError, match="is a URI"):
            reads(place)
    assert as_directory("~/sweeps") == str(Path.home() / "sweeps") and as_directory("a:b/c/") == "a:b/c"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, real = LocalStorage(tmp_path), os.write
    storage.append("log", "one")

    def full(descriptor: int, content: bytes) -> int:
        if len(content) < 5:
            raise OSError(28, "No space left on device")
        return real(descriptor, content[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFailed, match="No space left"):
        storage.append("log", "a long line")
    assert (tmp_path / "log").read_text() == "one\n"


def test_a_new_storage_is_private_and_one_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    for directory, mode in ((tmp_path / "new" / "storage", 0o700), (shared, 0o755)):
        LocalStorage(directory).check()
        assert directory.stat().st_mode & 0o777 == mode and list(directory.iterdir()) == []


def test_a_storage_that_cannot_be_written_is_reported_with_the_reason() -> None:
    with pytest.raises(StorageFailed, match="storage /proc/none cannot be written: No such file"):
        LocalStorage("/proc/none").check()


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_links_at_the_places_of_leases_and_logs_leave_their_targets_as_they_are(tmp_path: Path, kind: str) -> None:
    target, storage = tmp_path / "target", LocalStorage(tmp_path / "storage")
    target.write_text("somebody else's, without an end")
    storage.check()
    for name in (".lease-driver", "log"):
        getattr(tmp_path / "storage" / name, kind)(target)
    with pytest.raises(StorageFailed, match="link"), storage.lease("driver"):
        pass
    with pytest.raises(StorageFailed, match="link"):
        storage.append("log", "line")
    assert target.read_text() == "somebody else's, without an end"


def test_a_file_that_is_put_takes_the_place_of_a_link(tmp_path: Path) -> None:
    target, storage = tmp_path / "target", LocalStorage(tmp_path)
    target.write_text("somebody else's")
    (tmp_path / "key").symlink_to(target)
    storage.put("key", "own")
    assert target.read_text() == "somebody else's" and (tmp_path / "key").read_text() == "own"


def test_the_storage_within_another_has_its_keys(storage: Storage) -> None:
    storage.within("a/b").put("c", "1")
    assert storage.list("a/b") == ["c"] and storage.within("a").lines("b/c") == []


@pytest.mark.slow
def test_a_process_that_finds_a_lease_held_names_the_holder_and_waits(storage: Storage, other_process: Start) -> None:
    holder = other_process("lease = storage.lease('teacher'); lease.__enter__(); print(flush=True); sys.stdin.read()")
    said: list[str] = []

    def end(words: str) -> None:
        said.append(words)
        holder.kill()

    with lease_in_turn(storage, "teacher", end, "the teacher"):
        assert str(os.getpid()) in str(storage.holder("teacher"))
    with lease_in_turn(storage, "teacher", end, "the teacher"):
        pass
    assert len(said) == 1 and f"process {holder.pid} on" in said[0] and "at work on the teacher; waiting" in said[0]


def test_a_lease_whose_file_was_removed_while_it_was_locked_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last holder removes the file between another process's opening and its lock; a third would hold a new file."""
    path, takes, removed = tmp_path / "lease", local._takes, list[bool]()

    def takes_late(descriptor: int, kind: int) -> bool:
        if not removed:
            path.unlink()
            removed.append(True)
        return takes(descriptor, kind)

    monkeypatch.setattr(local, "_takes", takes_late)
    descriptor = local._locked(path, wait=False)
    assert descriptor is not None and os.path.samestat(os.fstat(descriptor), path.stat())
    os.close(descriptor)


def test_a_storage_of_another_user_is_an_error_with_that_users_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.append("sweeps/trials.jsonl", "{}")

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    for function in ("is_dir", "read_bytes"):
        monkeypatch.setattr(Path, function, denied)
    for read in (lambda: storage.list("sweeps"), lambda: storage.lines("sweeps/trials.jsonl")):
        with pytest.raises(StorageDenied, match="cannot be read: Permission denied"):
            read()
