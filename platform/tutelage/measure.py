"""Size, multiply–accumulates and latency of a network: what a student costs where it is deployed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROUNDS, WARM_UP_ROUNDS, FLOOR_ROUNDS = 60, 5, 10


def size(model: nn.Module) -> dict[str, float]:
    """Return `params` (trainable), `nonzero_params` (of those, not exactly zero; absent on the meta device), `size_bytes`.

    `size_bytes` counts every parameter and buffer of the exported weights at its own precision.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    stored = model.state_dict().values()
    sizes = {
        "params": float(sum(p.numel() for p in parameters)),
        "size_bytes": float(sum(t.numel() * t.element_size() for t in stored)),
    }
    if not any(p.is_meta for p in parameters):
        sizes["nonzero_params"] = float(sum(int(p.count_nonzero()) for p in parameters))
    return sizes


def macs(model: nn.Module, example_shape: tuple[int, ...]) -> dict[str, float]:
    """Return `macs`, the multiply–accumulates of one example of `example_shape` (no batch) in matrix and conv products.

    Works on the meta device too. Element-wise work, norms and pooling are not counted, as is the custom.
    """
    parameter = next(model.parameters())
    was_training = model.training
    model.eval()
    in_products = sdpa_kernel(SDPBackend.MATH)  # a fused attention kernel hides its products from the counter
    with torch.no_grad(), in_products, FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *example_shape, device=parameter.device, dtype=parameter.dtype))
    model.train(was_training)
    return {"macs": float(counter.get_total_flops() / 2)}


def latencies_ms(models: Mapping[str, nn.Module], example: Tensor) -> dict[str, dict[str, float]]:
    """Return for each model `latency_ms`, the median of one-example inference, and `latency_p90_ms`, on one CPU thread.

    `example` is `[1, …]`. The models take turns, one inference each a round, so that a drift of the machine meets all of
    them alike; the first rounds are not counted. Nothing else should run on the machine meanwhile.
    """
    samples_ms: dict[str, list[float]] = {name: [] for name in models}
    with _one_thread(), torch.inference_mode():
        for model in models.values():
            model.eval()
        for _ in range(WARM_UP_ROUNDS + ROUNDS):
            for name, model in models.items():
                started_s = time.perf_counter()
                model(example)
                samples_ms[name].append((time.perf_counter() - started_s) * 1e3)
    return {name: _summary(samples[WARM_UP_ROUNDS:]) for name, samples in samples_ms.items()}


def fastest_ms(model: nn.Module, example: Tensor) -> float:
    """Return the fastest of some one-example inferences on one CPU thread: what it takes with nothing in the way."""
    passes: list[float] = []
    with _one_thread(), torch.inference_mode():
        model.eval()
        for _ in range(WARM_UP_ROUNDS + FLOOR_ROUNDS):
            started_s = time.perf_counter()
            model(example)
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
