"""Actors that start at the same time pass the gate together; the last actors of a search do not wait."""

from __future__ import annotations

import asyncio

import pytest

from tutelage.search import gate


def passed(expected: int, arriving: int, *, at_most: int | None = None) -> int:
    """Return how many of the arriving actors pass at the same time."""

    async def arrive() -> int:
        one = gate.Gate(expected)
        tasks = [asyncio.create_task(one.pass_through()) for _ in range(arriving)]
        await asyncio.sleep(0)
        if at_most is not None:
            await one.expect(at_most)
        done, left = await asyncio.wait(tasks, timeout=0.2)
        for task in left:
            task.cancel()
        return len(done)

    return asyncio.run(arrive())


def test_actors_wait_for_each_other() -> None:
    assert passed(3, 2) == 0 and passed(3, 3) == 3


def test_fewer_trials_than_slots_start_without_waiting() -> None:
    assert passed(8, 2, at_most=2) == 2
    assert passed(8, 2, at_most=3) == 0
    assert passed(2, 2, at_most=9) == 2


def test_an_actor_waits_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "GATE_PATIENCE_S", 0.02)
    assert passed(3, 2) == 2
