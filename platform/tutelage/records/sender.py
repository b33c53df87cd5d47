"""The thread that carries work from the spool to MLflow, in order, however long MLflow is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tutelage.records.spool import Spool, Work
from tutelage.redaction import redact

logger = logging.getLogger(__name__)


FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 10.0


PATIENCE_S = 20.0  # without one piece of work done, until `flush` waits no longer


ATTEMPTS = 8  # at work that fails although the store answers


class Writer(Protocol):
    """The writer of the work. Writing it again, after a failure or a success, is harmless."""

    def write(self, work: Work) -> None:
        """Do one piece of work, or raise."""
        ...

    def answers(self) -> bool:
        """Return whether the store answers at all."""
        ...

    def forget(self) -> None:
        """Drop what was cached before a failure."""
        ...

    def is_final(self, error: Exception) -> bool:
        """Return whether trying again cannot help."""
        ...

    def describe(self, error: Exception) -> str:
        """Return a message that the store does not answer, and why, without secrets."""
        ...


class Sender:
    """A spool and the one thread that empties it. What the store refuses is put aside; what it cannot take now, waits."""

    def __init__(self, spool: Spool, writer: Writer) -> None:
        self.num_found = spool.waiting
        self.refused: list[str] = []
        self._spool, self._writer = spool, writer
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._deliver_all, name="tutelage-tracking", daemon=True)
        self._thread.start()

    def append(self, work: Mapping[str, Any]) -> None:
        """Put work on the spool."""
        self._spool.append(work)
        with self._changed:
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until all is done, or nothing has been for `PATIENCE_S`; return whether all is."""
        with self._changed:
            while waiting := self._spool.waiting:
                if not self._changed.wait_for(lambda before=waiting: self._spool.waiting < before, PATIENCE_S):  # type: ignore[misc]
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
                self._writer.write(work)
            except Exception as error:  # whatever it is, it must not end the sweep
                self._writer.forget()
                answers = self._writer.answers()
                failures += answers
                if answers and (self._writer.is_final(error) or failures >= ATTEMPTS):
                    self._put_aside(work, error)
                    return
                self._warn_away(error, answers)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                self._warn_back()
                self._take_out(self._spool.done)
                return

    def _put_aside(self, work: Work, error: Exception) -> None:
        why = f"{work['do']}: {redact(str(error)) or type(error).__name__}"
        self.refused.append(why)
        self._take_out(lambda: self._spool.refuse(why))

    def _take_out(self, how: Callable[[], None]) -> None:
        how()
        with self._changed:
            self._changed.notify_all()

    def _warn_away(self, error: Exception, answers: bool) -> None:
        if not self._is_away and not answers:
            self._is_away = True
            logger.warning("%s Nothing stops: what MLflow lacks waits on disk.", self._writer.describe(error))

    def _warn_back(self) -> None:
        if self._is_away:
            self._is_away = False
            logger.warning("MLflow is reachable again; %d pieces of work follow.", self._spool.waiting)
