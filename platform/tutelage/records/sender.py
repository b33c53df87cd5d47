"""The thread that carries work from the spool to MLflow, in order, however long MLflow is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tutelage.records.spool import Spool, Work
from tutelage.redaction import redact

logger = logging.getLogger(__name__)


FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 10.0


PATIENCE_S = 20.0  # that one piece of work may take, until `flush` waits no longer


ATTEMPTS = 8  # at work that fails although the store can be written


class Writer(Protocol):
    """The writer of the work. Writing it again, after a failure or a success, is harmless."""

    def write(self, work: Work) -> None:
        """Do one piece of work, or raise."""
        ...

    def takes(self) -> bool:
        """Return whether the store responds and can be written: with a full disk it responds, but stores nothing."""
        ...

    def forget(self) -> None:
        """Drop what was cached before a failure."""
        ...

    def is_final(self, error: Exception) -> bool:
        """Return whether trying again cannot help."""
        ...

    def describe(self, error: Exception) -> str:
        """Return a message that the store does not respond, with the reason, without secrets."""
        ...


class Sender:
    """A spool and the one thread that empties it. What the store rejects is put aside; what it cannot store now waits."""

    def __init__(self, spool: Spool, writer: Writer) -> None:
        self.num_found = spool.waiting
        self.refused: list[str] = []
        self.written_s = 0.0  # that writing has taken, failed attempts included
        self._spool, self._writer = spool, writer
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._is_away = False
        self._oldest_since_s = time.monotonic()  # when the oldest work that waits became the oldest
        self._thread = threading.Thread(target=self._deliver_all, name="tutelage-tracking", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """How many pieces of work wait."""
        return self._spool.waiting

    def append(self, work: Mapping[str, Any]) -> None:
        """Put work on the spool."""
        with self._changed:
            if not self._spool.waiting:
                self._oldest_since_s = time.monotonic()
            self._spool.append(work)
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until all is done, or the oldest work has waited for `PATIENCE_S`; return whether all is."""
        with self._changed:
            while waiting := self._spool.waiting:
                left_s = max(0.0, self._oldest_since_s + PATIENCE_S - time.monotonic())
                if not self._changed.wait_for(lambda before=waiting: self._spool.waiting < before, left_s):  # type: ignore[misc]
                    return False
        return True

    def close(self) -> int:
        """Flush, stop, release the spool, and return how many pieces of work still wait in it."""
        self.flush()
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(PATIENCE_S)
        return self._spool.waiting

    def _deliver_all(self) -> None:
        try:
            while not self._stopping.is_set():
                if (work := self._spool.oldest()) is not None:
                    self._deliver(work)
                    continue
                with self._changed:
                    self._changed.wait_for(lambda: self._spool.waiting or self._stopping.is_set())
        finally:
            self._spool.close()

    def _deliver(self, work: Work) -> None:
        wait_s, failures = FIRST_WAIT_S, 0
        while not self._stopping.is_set():
            try:
                self._write(work)
            except Exception as error:  # whatever it is, it must not end the sweep
                self._writer.forget()
                takes = self._writer.takes()
                failures += takes
                if takes and (self._writer.is_final(error) or failures >= ATTEMPTS):
                    self._put_aside(work, error)
                    return
                self._warn_away(error, takes)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                self._warn_back()
                self._take_out(self._spool.done)
                return

    def _write(self, work: Work) -> None:
        started_s = time.monotonic()
        try:
            self._writer.write(work)
        finally:
            self.written_s += time.monotonic() - started_s

    def _put_aside(self, work: Work, error: Exception) -> None:
        why = f"{work['do']}: {redact(str(error)) or type(error).__name__}"
        self.refused.append(why)
        self._take_out(lambda: self._spool.refuse(why))

    def _take_out(self, how: Callable[[], None]) -> None:
        how()
        with self._changed:
            self._oldest_since_s = time.monotonic()
            self._changed.notify_all()

    def _warn_away(self, error: Exception, takes: bool) -> None:
        if not self._is_away and not takes:
            self._is_away = True
            logger.warning("%s Nothing stops: what MLflow lacks waits on disk.", self._writer.describe(error))

    def _warn_back(self) -> None:
        if self._is_away:
            self._is_away = False
            logger.warning("MLflow is reachable again; %d pieces of work follow.", self._spool.waiting)
