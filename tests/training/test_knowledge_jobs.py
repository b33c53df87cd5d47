"""Knowledge that several workers write: each a share of the pieces. The workers run here, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ray import train

from tests.contexts import with_plan
from tutelage.spec.sections import AugmentationConfig
from tutelage.training import knowledge_cache, knowledge_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import Workers

VIEWS = 3


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_any_number_of_workers_write_the_same_knowledge(
    context: TrainingContext, taught: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    shares = list[int]()

    def in_turn(function: Callable[[], None], workers: Workers) -> None:
        for rank in range(workers.workers):
            where = SimpleNamespace(get_world_rank=lambda rank=rank: rank, get_world_size=lambda: workers.workers)
            monkeypatch.setattr(train, "get_context", lambda where=where: where)
            before = len(written)
            function()
            shares.append(len(written) - before)

    written = list[tuple[object, ...]]()
    write_view = TrainingContext.write_view
    monkeypatch.setattr(TrainingContext, "write_view", lambda *given: [written.append(given), write_view(*given)])
    monkeypatch.setattr(knowledge_jobs, "fit", in_turn)
    monkeypatch.setattr(knowledge_jobs, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(knowledge_jobs, "PIECE", 400)
    assert taught.knowledge is not None
    (tmp_path / "teacher").symlink_to(taught.knowledge.teacher_paths()[0])
    shared = with_plan(replace(context, augmentation=AugmentationConfig(pad_px=1)), tmp_path, dtype="float32", views=VIEWS)
    workers = Workers(workers=num_workers, cpus=1, gpus=0)
    knowledge_jobs.write_knowledge(shared, [("train", view) for view in range(VIEWS)], workers)
    assert sum(shares) == 3 * VIEWS and max(shares) - min(shares) <= 1, "each piece once, and as many for each worker"
    assert shared.cached_knowledge is not None
    for view in range(VIEWS):
        filled = replace(shared, knowledge=replace(shared.knowledge, cache="one"))  # type: ignore[type-var]
        filled.fill("train", view)
        assert filled.knowledge is not None and filled.knowledge.entry is not None
        one = knowledge_cache.open_view(filled.knowledge.entry.place("train", view))
        torch.testing.assert_close(shared.cached_knowledge.view("train", view)["logits.class"], one["logits.class"])
