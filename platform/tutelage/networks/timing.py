"""The latency of networks for one example on one CPU thread, measured in alternation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ROUNDS, WARM_UP_ROUNDS, FLOOR_ROUNDS = 60, 5, 10


def latencies_ms(models: Mapping[str, nn.Module], arguments: tuple[Tensor, ...]) -> dict[str, dict[str, float]]:
    """Return for each model `latency_ms`, the median of one-example inference, and `latency_p90_ms`, on one CPU thread.

    `arguments` are those of one example, `[1, …]` each. In each round every model runs once, so that drift of the machine
    affects all models equally. The first rounds are not counted. No other work should run on the machine.
    """
    samples_ms: dict[str, list[float]] = {name: [] for name in models}
    with _one_thread(), torch.inference_mode():
        for model in models.values():
            model.eval()
        for _ in range(WARM_UP_ROUNDS + ROUNDS):
            for name, model in models.items():
                started_s = time.perf_counter()
                model(*arguments)
                samples_ms[name].append((time.perf_counter() - started_s) * 1e3)
    return {name: _summary(samples[WARM_UP_ROUNDS:]) for name, samples in samples_ms.items()}


def fastest_ms(model: nn.Module, arguments: tuple[Tensor, ...]) -> float:
    """Return the shortest time of several one-example inferences on one CPU thread, a lower bound of the latency."""
    passes: list[float] = []
    with _one_thread(), torch.inference_mode():
        model.eval()
        for _ in range(WARM_UP_ROUNDS + FLOOR_ROUNDS):
            started_s = time.perf_counter()
            model(*arguments)
            passes.append((time.perf_counter() - started_s) * 1e3)
    return min(passes)


def _summary(samples_ms: list[float]) -> dict[str, float]:
    p90 = statistics.quantiles(samples_ms, n=10)[-1]
    return {"latency_ms": statistics.median(samples_ms), "latency_p90_ms": p90}


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
