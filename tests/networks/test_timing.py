"""Latencies of networks of known cost, by a clock that only they move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tutelage.networks import timing

ONE = (torch.zeros(1, 2),)


class Clock:
    """A clock that stands still unless a network runs."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "perf_counter", found)
    return found


class Costs(nn.Module):
    """A network whose passes take these milliseconds, one after the other."""

    def __init__(self, clock: Clock, name: str, passes_ms: Iterator[float]) -> None:
        super().__init__()
        self.clock, self.name, self.passes_ms = clock, name, passes_ms
        self.threads: set[int] = set()

    def forward(self, inputs: Tensor) -> Tensor:
        assert not self.training and torch.is_inference_mode_enabled()
        self.clock.now_s += next(self.passes_ms) / 1e3
        self.clock.order.append(self.name)
        self.threads.add(torch.get_num_threads())
        return inputs


Make = Callable[[str, list[float]], Costs]


@pytest.fixture
def make(clock: Clock) -> Make:
    return lambda name, passes_ms: Costs(clock, name, iter(passes_ms))


WARM_UP = [500.0] * timing.WARM_UP_ROUNDS


def test_a_latency_is_the_median_and_the_p90_of_the_counted_passes(make: Make) -> None:
    passes_ms = [float(ms) for ms in (*range(1, 41), *range(1001, 1021))]  # a mean of 350.5
    assert len(passes_ms) == timing.ROUNDS
    shuffled = np.random.default_rng(0).permutation(passes_ms).tolist()
    found = timing.latencies_ms({"a": make("a", WARM_UP + shuffled)}, ONE)["a"]
    assert found["latency_ms"] == pytest.approx(30.5)
    assert found["latency_p90_ms"] == pytest.approx(float(np.quantile(passes_ms, 0.9, method="weibull")))


def test_networks_run_in_alternation(make: Make, clock: Clock) -> None:
    rounds = timing.WARM_UP_ROUNDS + timing.ROUNDS
    found = timing.latencies_ms({"a": make("a", [2.0] * rounds), "b": make("b", [6.0] * rounds)}, ONE)
    assert {name: one["latency_ms"] for name, one in found.items()} == pytest.approx({"a": 2.0, "b": 6.0})
    assert clock.order == ["a", "b"] * rounds


def test_the_floor_is_the_fastest_pass(make: Make) -> None:
    count = timing.WARM_UP_ROUNDS + timing.FLOOR_ROUNDS
    passes_ms = [9.0] * (count - 2) + [3.0, 7.0]
    assert timing.fastest_ms(make("a", passes_ms), ONE) == pytest.approx(3.0)


def test_one_thread_is_used_and_the_number_of_threads_is_restored(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: held[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: held.__setitem__(0, count))
    model = make("a", [1.0] * (timing.WARM_UP_ROUNDS + timing.ROUNDS))
    timing.latencies_ms({"a": model}, ONE)
    assert model.threads == {1} and held == [4]


def test_a_measurement_on_a_busy_machine_is_repeated_and_the_quietest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, less = [1.0, 9.0] * 30, [1.0, 5.0] * 30
    found = iter(
        [{"": busy, "a": [8.0] * 60}, {"": less, "a": [4.0] * 60}, {"": busy, "a": [7.0] * 60}, {"": busy, "a": [6.0] * 60}]
    )
    monkeypatch.setattr(timing, "_measured", lambda *_: next(found))
    assert timing.latencies_ms({}, ONE)["a"]["latency_ms"] == 4.0
    assert next(found, None) is None, "four attempts"
    quiet = iter([{"": [1.0, 1.2] * 30, "a": [3.0] * 60}])
    monkeypatch.setattr(timing, "_measured", lambda *_: next(quiet))
    assert timing.latencies_ms({}, ONE) == {"a": {"latency_ms": 3.0, "latency_p90_ms": 3.0}}
