"""What is known of a sweep as a whole, kept as appended events so that several processes can write at the same time."""

from __future__ import annotations

import time
from typing import Any

from tutelage.records.json_lines import JsonLines

LISTED = ("test_evaluations",)  # facts of which every event adds one; of any other the latest value counts


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
        for event in self._lines.read():
            for name, value in event["facts"].items():
                known[name] = _folded(name, known.get(name), value)
        return known


def _folded(name: str, before: Any, value: Any) -> Any:
    if name in LISTED:
        return [*(before or []), value]
    if name in MERGED:
        return {**(before or {}), **value}
    return value
