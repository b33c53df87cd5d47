"""The outputs of a teacher, written into the knowledge cache by a Ray Train job of any number of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import ray
import torch
from ray import train
from ray.train.torch import get_device

from tutelage.data import SplitName
from tutelage.errors import WorkFailed
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import Workers, cause_of, fit

PIECE = 2048  # examples of a view that a worker processes at a time


def write_knowledge(context: TrainingContext, views: Sequence[tuple[SplitName, int]], workers: Workers) -> None:
    """Write the teacher's outputs for `views` into the context's cache entry, in a Ray Train job of any number of workers.

    The workers divide the views into pieces. A view appears in the cache when all its pieces are written.
    """
    plan = context.knowledge
    assert plan is not None and plan.entry is not None
    with ExitStack() as stack:
        drafts: dict[tuple[SplitName, int], Path] = {}
        for split, view in views:
            layouts, examples = context.layouts(split), context.splits[split]
            drafts[split, view] = stack.enter_context(plan.entry.draft(split, view, len(examples), layouts, examples.lengths))
        try:
            fit(lambda: _write_share(context, drafts), workers)
        except (train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise WorkFailed(f"the knowledge job failed: {cause_of(error)}") from error


def _write_share(context: TrainingContext, drafts: Mapping[tuple[SplitName, int], Path]) -> None:
    """Write this worker's share of the pieces of all views."""
    worker = train.get_context()
    context.teacher.to(get_device())
    pieces = [
        (draft, split, view, rows)
        for (split, view), draft in drafts.items()
        for rows in torch.arange(len(context.splits[split])).split(PIECE)
    ]
    layouts = {split: context.layouts(split) for _, split, _, _ in pieces}
    for draft, split, view, rows in pieces[worker.get_world_rank() :: worker.get_world_size()]:
        context.write_view(draft, split, view, rows, layouts[split])
