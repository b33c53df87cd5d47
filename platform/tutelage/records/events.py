"""What is known of a sweep as a whole, kept as appended events so that several processes can write at the same time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tutelage.records.json_lines import JsonLines

LISTED = ("test_evaluations", "certifications")  # facts of which every event adds one; of any other the latest value counts


MERGED = ("run_ids",)  # facts that are mappings, to which every event adds keys


class Events:
    """The file `events.jsonl` of a sweep: one line a change, `{"unix_time_s": …, "facts": {…}}`; its fold is what is known."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def append(self, **facts: Any) -> None:
        """Add one event; it is on the disk before this returns, and no event of another process is lost by it."""
        self._lines.append({"unix_time_s": time.time(), "facts": facts})

    def facts(self) -> dict[str, Any]:
        """Return what is known by all events; empty before the first."""
        known: dict[str, Any] = {}
        for number, event in enumerate(self._lines.read(), 1):
            for name, value in self._facts_of(number, event).items():
                known[name] = _folded(name, known.get(name), value)
        return known

    def _facts_of(self, number: int, event: Mapping[str, Any]) -> Mapping[str, Any]:
        facts = event.get("facts")
        if not isinstance(facts, dict) or not all(isinstance(facts.get(name, {}), dict) for name in MERGED):
            raise self._lines.broken(number, "it has no facts")
        return facts

    def set_aside_broken(self) -> int:
        """Move broken lines to a file beside this one; return how many these were."""
        return self._lines.set_aside_broken(self._facts_of)


def _folded(name: str, before: Any, value: Any) -> Any:
    if name in LISTED:
        return [*(before or []), value]
    if name in MERGED:
        return {**(before or {}), **value}
    return value
