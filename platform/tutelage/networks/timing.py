"""The latency of networks for one example on CPU threads, measured in alternation, on a quiet machine if there is one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ROUNDS, WARM_UP_ROUNDS, FLOOR_ROUNDS = 60, 5, 10
ATTEMPTS, STEADY = 4, 1.3  # measurements until one is quiet: the reference's 90th percentile over its median
_REFERENCE = ""  # a network's name is never empty

Samples = dict[str, list[float]]  # milliseconds of each round, by name


def latencies_ms(
    models: Mapping[str, nn.Module], arguments: tuple[Tensor, ...], threads: int = 1
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Return for each model `latency_ms`, the median of one-example inference, and `latency_p90_ms`, on `threads` CPU threads.

    `arguments` are those of one example, `[1, …]` each. In each round every model runs once, and a reference network too, so
    that drift of the machine affects all models equally. The first rounds are not counted. A measurement in which the
    reference's times scatter, because the machine is busy, is repeated up to three times, and the one with the fastest
    reference counts.
    """
    best, best_ms = Samples(), float("inf")
    for _ in range(ATTEMPTS):
        samples = _measured(models, arguments, threads)
        median_ms, p90_ms = _summary(samples.pop(_REFERENCE)).values()
        if p90_ms < best_ms or not best:
            best, best_ms = samples, p90_ms
        if p90_ms <= STEADY * median_ms:
            break
    return {name: _summary(one) for name, one in best.items()}


def _measured(models: Mapping[str, nn.Module], arguments: tuple[Tensor, ...], threads: int) -> Samples:
    reference, of_reference = nn.Conv2d(16, 16, 3, padding=1), (torch.zeros(1, 16, 32, 32),)
    calls = {_REFERENCE: (reference, of_reference), **{name: (model, arguments) for name, model in models.items()}}
    samples_ms: Samples = {name: [] for name in calls}
    with num_threads(threads), torch.inference_mode():
        for model, _ in calls.values():
            model.eval()
        for _ in range(WARM_UP_ROUNDS + ROUNDS):
            for name, (model, given) in calls.items():
                started_s = time.perf_counter()
                model(*given)
                samples_ms[name].append((time.perf_counter() - started_s) * 1e3)
    return {name: samples[WARM_UP_ROUNDS:] for name, samples in samples_ms.items()}


def fastest_ms(model: nn.Module, arguments: tuple[Tensor, ...], threads: int = 1) -> float:
    """Return the shortest time of several one-example inferences on `threads` CPU threads, a lower bound of the latency."""
    passes: list[float] = []
    with num_threads(threads), torch.inference_mode():
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
def num_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads of PyTorch within this context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
