"""The write-ahead file, as crashes leave it; and the thread that empties it, with a store that fails on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import InputError, WorkFailed
from tutelage.records import sender
from tutelage.records.sender import Sender
from tutelage.records.spool import Spool, Work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sweep" / "tracking.spool"


def emptied(spool: Spool) -> list[int]:
    found = []
    while (work := spool.oldest()) is not None:
        found.append(work["n"])
        spool.done()
    return found


def test_work_comes_out_in_order_and_a_spool_that_is_done_is_gone(path: Path) -> None:
    spool = Spool(path)
    for n in (3, 1, 2):
        spool.append({"n": n})
    assert spool.waiting == 3
    assert emptied(spool) == [3, 1, 2]
    spool.close()
    assert list(path.parent.iterdir()) == []


def test_what_is_not_done_is_there_at_the_next_opening_under_the_same_key(path: Path) -> None:
    spool = Spool(path)
    for n in range(3):
        spool.append({"n": n})
    spool.oldest()
    spool.done()
    spool.close()
    again = Spool(path)
    assert again.key == spool.key
    assert emptied(again) == [1, 2]


def test_a_killed_process_loses_nothing(path: Path) -> None:
    code = f"""
from pathlib import Path; import os, signal
from tutelage.records.spool import Spool
spool = Spool(Path({str(path)!r}))
for n in range(1000): spool.append({{"n": n}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert emptied(Spool(path)) == list(range(1000))


@pytest.mark.parametrize("torn", ['{"n":', '{"n":7}'])
def test_a_last_line_cut_short_is_left_out_and_the_next_one_is_whole(path: Path, torn: str) -> None:
    spool = Spool(path)
    spool.append({"n": 0})
    spool.close()
    with path.open("a") as file:
        file.write(torn)
    again = Spool(path)
    again.append({"n": 1})
    assert emptied(again) == [0, 1]


def test_a_note_of_another_spool_counts_for_nothing(path: Path) -> None:
    """A crash between the two removals leaves a note behind."""
    path.parent.mkdir()
    path.with_suffix(".done").write_text(json.dumps({"spool": "another", "bytes": 10**9}))
    spool = Spool(path)
    spool.append({"n": 5})
    assert emptied(spool) == [5]


def test_a_spool_shorter_than_its_note_has_nothing_left_and_takes_more(path: Path) -> None:
    """A power cut can take the file's end and leave the note."""
    spool = Spool(path)
    for n in range(3):
        spool.append({"n": n})
    spool.close()
    path.with_suffix(".done").write_text(json.dumps({"spool": spool.key, "bytes": path.stat().st_size}))
    os.truncate(path, path.stat().st_size - 3)
    again = Spool(path)
    assert again.waiting == 0
    again.append({"n": 9})
    assert emptied(again) == [9]


def test_a_broken_line_is_an_error_with_its_place(path: Path) -> None:
    spool = Spool(path)
    spool.append({"n": 0})
    spool.close()
    with path.open("a") as file:
        file.write("broken\n")
    with pytest.raises(WorkFailed, match="line 2 of those that wait is broken"):
        Spool(path)


def test_a_second_process_is_an_error(path: Path) -> None:
    spool = Spool(path)
    with pytest.raises(InputError, match=f"process {os.getpid()} on .* writes"):
        Spool(path)
    spool.close()
    Spool(path).close()


def test_infinity_is_an_error_and_leaves_the_file_unchanged(path: Path) -> None:
    spool = Spool(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        spool.append({"n": float("inf")})
    assert path.read_bytes() == before


class Store:
    """A store that is away for some calls, and refuses some work."""

    def __init__(self, *, away: int = 0, refused: frozenset[int] = frozenset(), broken: frozenset[int] = frozenset()) -> None:
        self.away, self.refused, self.broken = away, refused, broken
        self.written: list[int] = []
        self.forgotten = 0

    def write(self, work: Work) -> None:
        if self.away > 0:
            self.away -= 1
            raise ConnectionError("away")
        if work["n"] in self.refused:
            raise ValueError("no such run at http://me:secret@host")
        if work["n"] in self.broken:
            raise RuntimeError("internal error")
        self.written.append(work["n"])

    def takes(self) -> bool:
        return self.away == 0

    def forget(self) -> None:
        self.forgotten += 1

    def is_final(self, error: Exception) -> bool:
        return isinstance(error, ValueError)

    def describe(self, error: Exception) -> str:
        return f"out of reach ({error})."


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(sender, "LONGEST_WAIT_S", 0.002)


def carry(path: Path, store: Store, count: int) -> Sender:
    box = Sender(Spool(path), store)
    for n in range(count):
        box.append({"do": "one", "n": n})
    return box


def test_a_store_that_comes_back_gets_everything_in_order(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(away=20)
    box = carry(path, store, 50)
    assert box.flush()
    assert box.close() == 0
    assert store.written == list(range(50))
    assert store.forgotten == 20
    assert [record.getMessage().split()[0] for record in caplog.records] == ["out", "MLflow"], (
        "told once, and once that it is back"
    )


def test_entries_that_a_store_rejects_are_put_aside_and_stop_nothing(path: Path) -> None:
    store = Store(refused=frozenset({1}), broken=frozenset({3}))
    box = carry(path, store, 5)
    assert box.close() == 0
    assert store.written == [0, 2, 4]
    assert [why.split(":")[0] for why in box.refused] == ["one", "one"]
    kept = [json.loads(line) for line in path.with_suffix(".refused").read_text().splitlines()]
    assert [line["work"]["n"] for line in kept] == [1, 3]
    assert "secret" not in path.with_suffix(".refused").read_text()


def test_the_seconds_of_writing_include_failed_attempts(path: Path) -> None:
    class Slow(Store):
        def write(self, work: Work) -> None:
            time.sleep(0.01)
            super().write(work)

    box = carry(path, Slow(away=2), 3)
    box.close()
    assert box.written_s >= 5 * 0.01


def test_closing_waits_a_bounded_time_and_keeps_what_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "PATIENCE_S", 0.05)
    box = carry(path, Store(away=10**9), 3)
    assert box.close() == 3
    assert emptied(Spool(path)) == [0, 1, 2]


class Full(Store):
    """A store that answers, but can write nothing for a while: its disk is full."""

    def write(self, work: Work) -> None:
        if self.away:
            raise RuntimeError("database or disk is full")
        super().write(work)

    def takes(self) -> bool:
        could_not, self.away = self.away > 0, max(0, self.away - 1)
        return not could_not


def test_a_store_with_a_full_disk_gets_everything_once_it_has_room(path: Path) -> None:
    store = Full(away=3 * sender.ATTEMPTS)
    box = carry(path, store, 3)
    assert box.close() == 0
    assert store.written == [0, 1, 2] and box.refused == []


class Away(Store):
    """A store whose proxy refuses every request for a while, as if the store itself had."""

    def write(self, work: dict[str, Any]) -> None:
        if self.away:
            raise ConnectionError("404 from a proxy")
        super().write(work)

    def takes(self) -> bool:
        was_away, self.away = self.away > 0, max(0, self.away - 1)
        return not was_away

    def is_final(self, error: Exception) -> bool:
        return True


def test_a_store_that_took_nothing_for_long_is_not_waited_for_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a sweep flushes several times: without this each of them would wait for a store that is away."""
    monkeypatch.setattr(sender, "PATIENCE_S", 0.2)
    box = carry(path, Store(away=10**9), 3)
    assert not box.flush()
    started_s = time.monotonic()
    assert not box.flush() and not box.flush()
    assert time.monotonic() - started_s < 0.1
    box.close()


def test_a_final_error_counts_only_of_a_store_that_responds(path: Path) -> None:
    store = Away(away=10)
    box = carry(path, store, 3)
    assert box.close() == 0
    assert store.written == [0, 1, 2] and box.refused == []
