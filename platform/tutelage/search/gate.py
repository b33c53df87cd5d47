"""The gate that a search's actors pass together. Its process imports nothing heavy, so that it is up before they are."""

from __future__ import annotations

import asyncio
import contextlib

GATE_PATIENCE_S = 20.0  # an actor that starts takes a few seconds; a cluster that grows takes longer and is not waited for


class Gate:
    """Holds actors that have started until `expected` are up, or nobody has come for a while; then it stays open.

    Without it, trials shorter than an actor's start run one at a time: Tune gives a waiting trial the actor that has just
    come free, and kills the one that was starting for it, again and again.
    """

    def __init__(self, expected: int) -> None:
        self._expected = self._missing = expected
        self._opened = asyncio.Event()

    async def expect(self, at_most: int) -> None:
        """Expect no more than so many actors: there are no more trials."""
        fewer = max(0, self._expected - at_most)
        self._expected -= fewer
        self._missing -= fewer
        if self._missing <= 0:
            self._opened.set()

    async def pass_through(self) -> None:
        self._missing -= 1
        seen = self._missing
        if self._missing <= 0:
            self._opened.set()
        while not self._opened.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._opened.wait(), GATE_PATIENCE_S)
            if seen == self._missing:
                self._opened.set()
            seen = self._missing
