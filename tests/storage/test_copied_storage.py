"""What reads a storage works where files must be copied to this machine first, as from an object store."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.contexts import small_config
from tests.training.test_knowledge_cache import LOGITS
from tutelage.networks import checkpoint, cost
from tutelage.networks.output import Outline
from tutelage.objectives import objective
from tutelage.records import fronts
from tutelage.records.json_lines import JsonLines
from tutelage.records.ledger import Ledger
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.storage.local import LocalStorage
from tutelage.sweep import teacher_store
from tutelage.training import knowledge_cache, student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_layout import Layout
from tutelage.training.knowledge_plan import KnowledgePlan
from tutelage.training.ray_train import HERE


class CopiedStorage(LocalStorage):
    """A storage whose files lie elsewhere: `local_path` gives a copy, and the path of its URI holds nothing."""

    def __init__(self, uri: str | Path, remote: Path, mirror: Path) -> None:
        super().__init__(remote)
        self.uri, self._mirror, self._reads = str(uri), mirror, 0

    def local_path(self, key: str) -> Path:
        """Return a copy of `key` on this machine; of what is not there, a path that is not there either."""
        return _copied(self._root / key, self._mirror)

    def writable_path(self, key: str) -> Path:
        """Return a place of this machine, which the storage does not see."""
        return self._mirror / "own" / self.uri.lstrip("/") / key

    def __reduce__(self) -> tuple[Any, ...]:
        return CopiedStorage, (self.uri, self._root, self._mirror)

    def within(self, key: str) -> CopiedStorage:
        return CopiedStorage(Path(self.uri) / key, self._root / key, self._mirror)

    def put(self, key: str, data: bytes | str) -> None:
        LocalStorage(self._root).put(key, data)

    def draft(self, key: str, **options: Any) -> Any:
        return LocalStorage(self._root).draft(key, **options)

    def append(self, key: str, line: str, *, durable: bool = True) -> None:
        LocalStorage(self._root).append(key, line, durable=durable)

    def remove(self, key: str) -> None:
        LocalStorage(self._root).remove(key)


def _copied(source: Path, mirror: Path) -> Path:
    place = mirror / str(abs(hash(str(source)))) / source.name
    shutil.rmtree(place.parent, ignore_errors=True)
    place.parent.mkdir(parents=True)
    if source.is_dir():
        shutil.copytree(source, place)
    elif source.exists():
        shutil.copy(source, place)
    return place


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[Any], CopiedStorage]:
    """Return the function that opens the copied storage at a path below `tmp_path / "storage"`."""

    def open_copied(uri: Any) -> CopiedStorage:
        key = Path(uri).relative_to(tmp_path / "storage")
        return CopiedStorage(uri, tmp_path / "remote" / key, tmp_path / "mirror")

    return open_copied


def test_a_teacher_is_written_and_read(
    opened: Callable[[Any], Any], context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_store, "open_storage", opened)
    spec: Any = SimpleNamespace(storage=str(tmp_path / "storage"))
    assert teacher_store.stored_teacher(spec, "a1") is None
    architecture = context.architecture({"mlp": {"hidden": 8}})
    model = checkpoint.seeded(architecture, 3)
    place = teacher_store.store_teacher(spec, "a1", model, architecture, {"measures": {"accuracy": 0.5}, "curve": []})
    found = teacher_store.stored_teacher(spec, "a1")
    assert found is not None and found.measures == {"accuracy": 0.5} and found.address == "a1" and found.reused
    read = checkpoint.read(found.directory)[0].state_dict()
    assert all(torch.equal(read[name], weight) for name, weight in model.state_dict().items())
    assert place == found.directory and not (tmp_path / "storage").exists()


def test_a_student_is_distilled_from_a_teacher_and_both_are_read(
    opened: Callable[[Any], Any], context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student_jobs, "fit", lambda function, workers: function())
    storage, about = opened(tmp_path / "storage"), context.architecture({"mlp": {"hidden": 8}})
    with storage.draft("teachers/a1") as draft:
        checkpoint.write(draft, checkpoint.seeded(about, 3), about)
    plan = KnowledgePlan(storage=storage, teachers=(("teachers/a1", 1.0),))
    home = SweepDir(storage, "one")
    trials = student_jobs.StudentTrials(context=replace(context, knowledge=plan), students=home.students, workers=HERE)
    config = small_config(weight=0.5)
    config["student"]["epochs"], config["sparsity"]["amount"] = 1, 0.0
    row = pickle.loads(pickle.dumps(trials))("t0000", config).step()
    read, _ = checkpoint.read(home.student_path("t0000"))
    assert row["done"] and row["measures"]["params"] == cost.size(read)["params"] and home.students.list() == ["t0000"]
    assert not (tmp_path / "storage").exists()


def test_knowledge_is_written_read_and_removed_where_it_is_damaged(
    opened: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = knowledge_cache.Entry(opened(tmp_path / "storage").within("knowledge/k1"))
    assert entry.outline() is None and not entry.has("train", 0)
    entry.describe(Outline(classes=10))
    layout = Layout(shape=tuple(LOGITS.shape[1:]), dtype="float32")
    with entry.draft("train", 0, len(LOGITS), {"logits": layout}) as draft:
        knowledge_cache.fill(draft, {"logits": LOGITS}, 0)
    knowledge = knowledge_cache.Knowledge(entry=entry, outline=Outline(classes=10), fill=lambda split, view: None)
    assert torch.equal(knowledge.view("train", 0)["logits"][torch.arange(len(LOGITS))], LOGITS)
    assert entry.outline() == Outline(classes=10) and entry.has("train", 0)
    (tmp_path / "remote/knowledge/k1/train/0000/logits.npy").write_bytes(b"damaged")
    assert len(knowledge_cache.remove_damaged(entry, [("train", 0)])) == 1 and not entry.has("train", 0)
    assert not (tmp_path / "storage").exists()


def test_a_ledger_and_its_front_are_read(
    opened: Callable[[Any], Any], tmp_path: Path, make_record: Callable[..., TrialRecord]
) -> None:
    home = SweepDir(opened(tmp_path / "storage"), "one")
    records = [make_record(0, accuracy=0.9, params=10.0), make_record(1, accuracy=0.8, params=20.0)]
    for record in records:
        home.ledger.append(record)
    home.update(state="finished")
    assert home.trials() == records and home.facts()["state"] == "finished" and home.has_started()
    assert fronts.front_of(home.records(), [objective("accuracy"), objective("params")]) == records[:1]
    assert Ledger(JsonLines(home.files, "trials.jsonl")).read() == records
    assert not (tmp_path / "storage").exists()
