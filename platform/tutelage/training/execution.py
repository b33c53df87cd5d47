"""How steps are run on the device at hand: what measures faster in a few of them is taken for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn

from tutelage.spec.sections import PLAIN, ExecutionConfig
from tutelage.training.loop import Training, TrainingPlan

WORTH_S = 120.0  # a training that is shorter is not worth timing, and stays plain
WORTH_SHARE = 0.9  # a way must take at most this share of the seconds of the best before it: less is noise
TIMED_STEPS, WARM_UP_STEPS = 6, 2


def fastest(build: Callable[[], nn.Module], plan: TrainingPlan) -> tuple[ExecutionConfig, dict[str, float]]:
    """Return the fastest way to run the plan's steps, and the milliseconds a step of every way that was timed.

    Ways are tried one on top of the other: channels_last, then bfloat16 (GPUs only), then torch.compile, where its
    compilation is won back within the training. A plan of under two minutes is timed plain and stays plain.
    """
    best, timed = PLAIN, {}
    best_s, _ = _seconds(build, plan, best)
    timed["plain"] = best_s * 1e3
    steps = plan.recipe.epochs * max(1, len(plan.train) // plan.recipe.batch_size)
    if best_s * steps < WORTH_S:
        return best, timed
    for name, way in _ways(plan):
        combined = best.model_copy(update=way)
        step_s, first_s = _seconds(build, plan, combined)
        timed[name] = step_s * 1e3
        if step_s * steps + first_s < WORTH_SHARE * best_s * steps:
            best, best_s = combined, step_s
    return best, timed


def _ways(plan: TrainingPlan) -> Iterator[tuple[str, dict[str, bool]]]:
    if any(spec.kind == "image" for spec in plan.signature.inputs):
        yield "channels_last", {"channels_last": True}
    if torch.cuda.is_available():
        yield "bfloat16", {"bfloat16": True}
        yield "compile", {"compile": True}


def _seconds(build: Callable[[], nn.Module], plan: TrainingPlan, way: ExecutionConfig) -> tuple[float, float]:
    """Return the seconds of a step, the least of a few, and those of the first steps, compilation included."""
    rows = plan.recipe.batch_size * (TIMED_STEPS + WARM_UP_STEPS)
    under_way = Training(build(), replace(plan, train=plan.train.head(rows), execution=way))
    batches = under_way.batches()
    started_s = time.perf_counter()
    for batch in batches[:WARM_UP_STEPS]:
        _timed(under_way, batch)
    first_s = time.perf_counter() - started_s
    return min(_timed(under_way, batch) for batch in batches[WARM_UP_STEPS:] or batches), first_s


def _timed(under_way: Training, rows: torch.Tensor) -> float:
    started_s = time.perf_counter()
    under_way.step(rows).item()  # waits for the device
    return time.perf_counter() - started_s
