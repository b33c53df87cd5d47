"""The execution mode of a training, chosen by timing a few steps on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn

from tutelage.spec.sections import PLAIN, ExecutionConfig
from tutelage.training.loop import Training
from tutelage.training.plan import TrainingPlan

WORTH_S = 120.0  # shorter trainings use the plain mode without timing the others
WORTH_SHARE = 0.9  # a mode is chosen if it needs at most this share of the best time so far; smaller gains are noise
TIMED_STEPS, WARM_UP_STEPS = 6, 2


def fastest(build: Callable[[], nn.Module], plan: TrainingPlan) -> tuple[ExecutionConfig, dict[str, float]]:
    """Return the fastest execution mode for the plan's steps, and the milliseconds a step of each mode that was timed.

    Modes are tried cumulatively: channels_last, then bfloat16 (GPUs only), then torch.compile, whose compilation time counts.
    A training of less than two minutes uses the plain mode; no other mode is timed.
    """
    best, timed = PLAIN, {}
    best_s, _ = _seconds(build, plan, best)
    timed["plain"] = best_s * 1e3
    steps = plan.recipe.epochs * max(1, len(plan.train) // plan.recipe.batch_size)
    if best_s * steps < WORTH_S:
        return best, timed
    for name, change in _modes(plan):
        combined = best.model_copy(update=change)
        step_s, first_s = _seconds(build, plan, combined)
        timed[name] = step_s * 1e3
        if step_s * steps + first_s < WORTH_SHARE * best_s * steps:
            best, best_s = combined, step_s
    return best, timed


def _modes(plan: TrainingPlan) -> Iterator[tuple[str, dict[str, bool]]]:
    if any(spec.kind == "image" for spec in plan.signature.inputs):
        yield "channels_last", {"channels_last": True}
    if torch.cuda.is_available():
        yield "bfloat16", {"bfloat16": True}
        yield "compile", {"compile": True}


def _seconds(build: Callable[[], nn.Module], plan: TrainingPlan, mode: ExecutionConfig) -> tuple[float, float]:
    """Return the seconds of the fastest of a few steps, and those of the first steps, compilation included."""
    rows = plan.recipe.batch_size * (TIMED_STEPS + WARM_UP_STEPS)
    under_way = Training(build(), replace(plan, train=plan.train.few(rows), execution=mode))
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
