from __future__ import annotations

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from tutelage import knowledge
from tutelage.losses import Outline, Stage

LOGITS = {"train": torch.randn(3, 50, 1, 10), "validation": torch.randn(1, 20, 1, 10)}
OUTLINE = Outline(classes=10, stages=(Stage(name="stage1", grid=(4, 4), channels=8),), weights={"head.weight": (10, 8)})


def write(root: Path, logits: dict[str, torch.Tensor], dtype: str = "float16", address: str = "a") -> Path:
    def view(split: str, number: int) -> dict[str, torch.Tensor]:
        return {"logits": logits[split][number]}

    views = {split: [partial(view, split, i) for i in range(len(known))] for split, known in logits.items()}
    return knowledge.write(root, address, views, OUTLINE, dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 2e-3)])
def test_what_is_read_is_what_was_written(tmp_path: Path, dtype: str, tolerance: float) -> None:
    address = knowledge.content_address(teacher="a", data="b")
    write(tmp_path, LOGITS, dtype, address)
    found = knowledge.read(tmp_path, address)
    assert found is not None and found.num_views == 3 and found.outline == OUTLINE
    for split, logits in LOGITS.items():
        assert str(found.parts[split]["logits"].dtype) == f"torch.{dtype}"
        torch.testing.assert_close(found.parts[split]["logits"].float(), logits, atol=tolerance, rtol=1e-3 if tolerance else 0)


def test_large_logits_stay_finite_in_half_precision(tmp_path: Path) -> None:
    write(tmp_path, {"train": torch.tensor([[[[1e9, -1e9]]]])})
    found = knowledge.read(tmp_path, "a")
    assert found is not None
    assert found.parts["train"]["logits"].tolist() == [[[[65504.0, -65504.0]]]]


def test_an_address_changes_with_every_part() -> None:
    addresses = {knowledge.content_address(**parts) for parts in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a": "1"})}
    assert len(addresses) == 5
    assert knowledge.content_address(a=1, b=2) == knowledge.content_address(b=2, a=1)


def test_another_address_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, LOGITS)
    assert knowledge.read(tmp_path, "b") is None


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest", "moved"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    entry = write(tmp_path, LOGITS)
    file = entry / "validation" / "logits.npy"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-8])
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest":
        (entry / knowledge.MANIFEST).write_text("{")
    else:
        entry.rename(tmp_path / "b")
    with pytest.raises(knowledge.CorruptKnowledge):
        knowledge.read(tmp_path, "b" if damage == "moved" else "a")


def _write_for_ever(root: Path) -> None:
    while True:
        write(root, {"train": torch.zeros(2, 1000, 1, 100)}, "float32")


def test_a_writer_that_is_killed_leaves_a_whole_entry_or_none(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for delay_s in (0.02, 0.05, 0.11):
        writer = context.Process(target=_write_for_ever, args=(tmp_path,))
        writer.start()
        time.sleep(delay_s)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = knowledge.read(tmp_path, "a")
        assert found is None or found.parts["train"]["logits"].shape == (2, 1000, 1, 100)
