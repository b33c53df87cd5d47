"""The cache on disk: an entry is read as it was written, and is complete or missing, with several writers too."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tutelage import files
from tutelage.networks.output import Outline, Stage
from tutelage.storage.local import LocalStorage
from tutelage.training import knowledge_cache
from tutelage.training.knowledge_cache import CorruptKnowledge, Entry, Knowledge
from tutelage.training.knowledge_layout import Layout

LOGITS = torch.randn(50, 1, 10)
OUTLINE = Outline(classes=10, stages=(Stage(name="stage1", grid=(4, 4), channels=8),), weights={"head.weight": (10, 8)})


def write(entry: Entry, logits: torch.Tensor = LOGITS, dtype: str = "float16", view: int = 0) -> Path:
    entry.describe(OUTLINE)
    with entry.draft("train", view, len(logits), {"logits": Layout(shape=tuple(logits.shape[1:]), dtype=dtype)}) as draft:
        for first in (0, len(logits) // 2):
            rows = logits[: len(logits) // 2] if first == 0 else logits[first:]
            knowledge_cache.fill(draft, {"logits": rows}, first)
    return entry.place("train", view)


def nothing_to_fill(_split: str, view: int) -> None:
    raise AssertionError(f"view {view} was asked for")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 2e-3)])
def test_a_view_is_read_as_it_was_written(tmp_path: Path, dtype: str, tolerance: float) -> None:
    entry = Entry(LocalStorage(tmp_path / files.content_address(teacher="a", data="b")))
    write(entry, dtype=dtype)
    assert entry.outline() == OUTLINE and entry.has("train", 0) and not entry.has("train", 1)
    read = Knowledge(entry=entry, outline=OUTLINE, fill=nothing_to_fill).view("train", 0)["logits"]
    assert str(read.dtype) == f"torch.{dtype}"
    torch.testing.assert_close(read.float(), LOGITS, atol=tolerance, rtol=1e-3 if tolerance else 0)
    assert Layout(shape=(1, 10), dtype=dtype).num_bytes(50) == read.numel() * read.element_size()


def test_classes_are_kept_as_whole_numbers(tmp_path: Path) -> None:
    entry, numbers = Entry(LocalStorage(tmp_path / "a")), torch.tensor([[[65_535, 0]]])
    with entry.draft("train", 0, 1, {"classes": Layout(shape=(1, 2), dtype="uint16")}) as draft:
        knowledge_cache.fill(draft, {"classes": numbers}, 0)
    assert knowledge_cache.open_view(entry.place("train", 0))["classes"].long().tolist() == numbers.tolist()


def test_large_logits_stay_finite_in_half_precision(tmp_path: Path) -> None:
    place = write(Entry(LocalStorage(tmp_path / "a")), torch.tensor([[[1e9, -1e9]]] * 2))
    assert knowledge_cache.open_view(place)["logits"][0].tolist() == [[65504.0, -65504.0]]


def test_an_address_changes_with_every_part() -> None:
    addresses = {files.content_address(**parts) for parts in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a": "1"})}
    assert len(addresses) == 5
    assert files.content_address(a=1, b=2) == files.content_address(b=2, a=1)


def test_an_entry_of_another_address_does_not_exist(tmp_path: Path) -> None:
    write(Entry(LocalStorage(tmp_path / "a")))
    assert Entry(LocalStorage(tmp_path / "b")).outline() is None and not Entry(LocalStorage(tmp_path / "b")).has("train", 0)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest"])
def test_a_damaged_view_is_detected_and_only_it_is_removed(tmp_path: Path, damage: str) -> None:
    entry = Entry(LocalStorage(tmp_path / "a"))
    place, whole = write(entry), write(entry, view=1)
    file = place / "logits.npy"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-8])
    elif damage == "gone":
        file.unlink()
    else:
        (place / knowledge_cache.MANIFEST).write_text("{")
    with pytest.raises(CorruptKnowledge):
        Knowledge(entry=entry, outline=OUTLINE, fill=nothing_to_fill).view("train", 0)
    said = knowledge_cache.remove_damaged(entry, [("train", 0), ("train", 1), ("train", 2)])
    assert len(said) == 1 and not place.exists() and whole.exists()


def test_a_missing_view_is_filled_once_by_the_first_process(tmp_path: Path) -> None:
    entry, filled = Entry(LocalStorage(tmp_path / "a")), list[int]()
    entry.describe(OUTLINE)

    def fill(_split: str, view: int) -> None:
        with entry.view_lock("train", view):
            if not entry.has("train", view):
                time.sleep(0.05)
                filled.append(view)
                write(entry, view=view)

    readers = [Knowledge(entry=entry, outline=OUTLINE, fill=fill) for _ in range(4)]
    threads = [threading.Thread(target=reader.view, args=("train", 7)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert filled == [7]
    assert all(torch.equal(r.view("train", 7)["logits"], readers[0].view("train", 7)["logits"]) for r in readers)


def test_a_node_reads_its_own_copy(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "shared" / "a"))
    write(entry)
    local = Knowledge(entry=entry, outline=OUTLINE, fill=nothing_to_fill, local_dir=tmp_path / "node")
    known = local.view("train", 0)["logits"].clone()
    (entry.place("train", 0) / "logits.npy").write_bytes(b"the shared storage is not asked again")
    again = Knowledge(entry=entry, outline=OUTLINE, fill=nothing_to_fill, local_dir=tmp_path / "node")
    assert torch.equal(again.view("train", 0)["logits"], known)


def test_a_damaged_local_copy_is_copied_again(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "shared" / "entry"))
    write(entry)

    def read() -> tuple[torch.Tensor, Path]:
        own = Knowledge(entry=entry, outline=OUTLINE, fill=nothing_to_fill, local_dir=tmp_path / "node")
        return own.view("train", 0)["logits"].clone(), next((tmp_path / "node").glob("*/train/*/logits.npy"))

    known, copy = read()
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-2] + b"xx")
    again, copy = read()
    assert torch.equal(known, again) and copy.read_bytes() == whole


def test_an_entrys_description_is_removed_only_if_it_is_unreadable(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "entry"))
    assert entry.forget_damaged() == ""
    entry.describe(OUTLINE)
    assert entry.forget_damaged() == "" and entry.outline() == OUTLINE
    (tmp_path / "entry" / "entry.json").write_text("{")
    assert "entry.json: unreadable" in entry.forget_damaged()
    assert entry.outline() is None


def test_a_draft_that_fails_leaves_nothing(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "a"))
    with (
        pytest.raises(RuntimeError, match="no more"),
        entry.draft("train", 0, 3, {"logits": Layout(shape=(1,), dtype="float16")}),
    ):
        raise RuntimeError("no more")
    assert not list((tmp_path / "a" / "train").iterdir())


def _write_for_ever(entry: Entry) -> None:
    view = 0
    while True:
        write(entry, torch.zeros(1000, 1, 100), "float32", view)
        view += 1


def _write_half_of_view_99(entry: Entry) -> None:
    with entry.draft("train", 99, 50, {"logits": Layout(shape=(1, 10), dtype="float32")}) as draft:
        knowledge_cache.fill(draft, {"logits": LOGITS[:25]}, 0)
        entry.storage.put("half", "")
        time.sleep(600)


def killed_once(is_time: Callable[[], bool], writer: Callable[[Entry], None], entry: Entry) -> None:
    """Kill a process that runs `writer` as soon as `is_time`, which must come while it lives."""
    process = multiprocessing.get_context("fork").Process(target=writer, args=(entry,), daemon=True)
    process.start()
    deadline_s = time.monotonic() + 60
    while not is_time():
        assert process.is_alive() and time.monotonic() < deadline_s
    process.kill()
    process.join()


def test_a_killed_writer_leaves_whole_views_only(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "a"))

    def views() -> list[int]:
        return [int(place.name) for place in (tmp_path / "a").glob("train/[0-9]*")]

    for _ in range(3):
        before = len(views())
        killed_once(lambda: len(views()) > before, _write_for_ever, entry)  # noqa: B023
        assert knowledge_cache.remove_damaged(entry, [("train", view) for view in views()]) == []


def test_the_draft_of_a_killed_writer_is_no_view_and_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "a"))
    killed_once((tmp_path / "a" / "half").exists, _write_half_of_view_99, entry)
    (draft,) = (tmp_path / "a").glob("train/.draft-*")
    assert next(draft.rglob("logits.npy")).stat().st_size > 0 and not entry.has("train", 99)
    with entry.draft("train", 99, 50, {"logits": Layout(shape=(1, 10), dtype="float32")}):
        assert not draft.exists()


def test_the_draft_of_a_running_writer_is_not_removed(tmp_path: Path) -> None:
    entry = Entry(LocalStorage(tmp_path / "a"))
    with entry.draft("train", 0, 50, {"logits": Layout(shape=(1, 10), dtype="float32")}) as draft:
        knowledge_cache.fill(draft, {"logits": LOGITS}, 0)
        with pytest.raises(InterruptedError), entry.draft("train", 0, 50, {}):
            raise InterruptedError
    assert torch.equal(knowledge_cache.open_view(entry.place("train", 0))["logits"], LOGITS)
