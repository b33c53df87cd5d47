"""Actors that start at the same time pass the gate together; the last actors of a search do not wait."""

from __future__ import annotations

import threading

import pytest

from tutelage.search import gate


class Store:
    """A key-value store like a cluster's, in this process."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def _internal_kv_put(self, key: str, value: str) -> None:
        self.entries[key] = value

    def _internal_kv_get(self, key: str) -> bytes | None:
        return self.entries[key].encode() if key in self.entries else None

    def _internal_kv_exists(self, key: str) -> bool:
        return key in self.entries

    def _internal_kv_list(self, prefix: str) -> list[str]:
        return [key for key in list(self.entries) if key.startswith(prefix)]

    def _internal_kv_del(self, prefix: str, *, del_by_prefix: bool) -> None:
        assert del_by_prefix
        self.entries = {key: value for key, value in self.entries.items() if not key.startswith(prefix)}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(gate, "internal_kv", store)
    monkeypatch.setattr(gate, "POLL_S", 0.005)
    return store


def passed(expected: int, arriving: int, *, at_most: int | None = None) -> int:
    """Return how many of the arriving actors are through within a moment; then let the others through."""
    one = gate.Gate(expected)
    threads = [threading.Thread(target=one.pass_through) for _ in range(arriving)]
    for thread in threads:
        thread.start()
    if at_most is not None:
        one.expect(at_most)
    for thread in threads:
        thread.join(0.1)
    waiting = sum(thread.is_alive() for thread in threads)
    one.expect(0)
    for thread in threads:
        thread.join(5)
    return arriving - waiting


def test_actors_wait_for_each_other(store: Store) -> None:
    assert passed(3, 2) == 0 and passed(3, 3) == 3


def test_fewer_trials_than_slots_start_without_waiting(store: Store) -> None:
    assert passed(8, 2, at_most=2) == 2
    assert passed(8, 2, at_most=3) == 0
    assert passed(2, 2, at_most=9) == 2


def test_an_actor_waits_for_a_limited_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "GATE_PATIENCE_S", 0.02)
    assert passed(3, 2) == 2


def test_two_gates_are_independent_and_a_removed_gate_leaves_no_entries(store: Store) -> None:
    first, second = gate.Gate(1), gate.Gate(1)
    first.pass_through()
    assert not second._has_opened()
    second.remove()
    first.remove()
    assert not store.entries
