"""A barrier that the actors of a search pass together: entries in the cluster's key-value store, without a process."""

from __future__ import annotations

import time
import uuid

from ray.experimental import internal_kv

GATE_PATIENCE_S = (
    20.0  # an actor starts within a few seconds; a node that an autoscaler adds takes longer, and is not waited for
)
POLL_S = 0.05


class Gate:
    """Makes actors wait until the expected number has started, or none has started for a while; then it remains open.

    Without it, trials shorter than the start of an actor run one at a time: Tune gives a waiting trial the actor that has
    just become free, and kills the actor that was starting for it.
    """

    def __init__(self, expected: int) -> None:
        self._name, self._is_open = uuid.uuid4().hex, False
        self._put("expected", str(expected))

    def expect(self, at_most: int) -> None:
        """Expect at most this many actors, because there are no more trials."""
        if not self._has_opened() and at_most < self._expected():
            self._put("expected", str(at_most))
            self._open_if_complete()

    def pass_through(self) -> None:
        """Return when the gate is open."""
        self._put(f"arrived/{uuid.uuid4().hex}", "")
        self._open_if_complete()
        num_arrived, until_s = self._num_arrived(), time.monotonic() + GATE_PATIENCE_S
        while not self._has_opened():
            time.sleep(POLL_S)
            if time.monotonic() > until_s:
                earlier, num_arrived, until_s = num_arrived, self._num_arrived(), time.monotonic() + GATE_PATIENCE_S
                if num_arrived == earlier:
                    self._put("open", "")

    def remove(self) -> None:
        """Remove the gate's entries from the store."""
        internal_kv._internal_kv_del(self._key(""), del_by_prefix=True)

    def _open_if_complete(self) -> None:
        if self._num_arrived() >= self._expected():
            self._put("open", "")

    def _has_opened(self) -> bool:
        self._is_open = self._is_open or internal_kv._internal_kv_exists(self._key("open"))
        return self._is_open

    def _num_arrived(self) -> int:
        return len(internal_kv._internal_kv_list(self._key("arrived/")))

    def _expected(self) -> int:
        return int(internal_kv._internal_kv_get(self._key("expected")) or 0)

    def _key(self, entry: str) -> str:
        return f"tutelage-gate/{self._name}/{entry}"

    def _put(self, entry: str, value: str) -> None:
        internal_kv._internal_kv_put(self._key(entry), value)
