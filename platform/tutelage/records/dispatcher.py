"""The dispatcher of a sweep's events: every observer gets all of them, and none can delay or end the sweep."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from tutelage.records.observer import Event, Observer, StageStarted
from tutelage.storage import StorageFailed

logger = logging.getLogger(__name__)


MAX_WAITING = 10_000  # events that wait for one observer; a further one replaces the oldest


PATIENCE_S = 1.0  # at the end, without one event handled, until the rest of a slow observer's events are dropped


class Dispatcher:
    """Gives events to observers; a context manager whose end waits for the observers that keep up.

    Each observer has a queue and a thread of its own. Those that `attach` adds are called at once, in the sender's thread:
    they must return within microseconds. The first error of an observer is logged with its traceback, later ones are not.
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._attached: list[Observer] = []
        self._queues = [_Queue(observer) for observer in observers]

    def attach(self, observer: Observer) -> None:
        """Add an observer that is called in the sender's thread."""
        self._attached.append(_logging_errors(observer))

    def send(self, event: Event) -> None:
        """Give an event to all observers; returns at once and raises nothing."""
        for observer in self._attached:
            observer(event)
        for queue in self._queues:
            queue.put(event)

    def stage(self, text: str) -> None:
        """Send `StageStarted`."""
        self.send(StageStarted(text=text))

    def close(self) -> None:
        """Wait until the observers have handled what was sent; one that handles nothing for `PATIENCE_S` is left behind."""
        for queue in self._queues:
            queue.close()

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Queue:
    """The events that wait for one observer, and the thread that gives them to it."""

    def __init__(self, observer: Observer) -> None:
        self._name, self._observer = _name_of(observer), _logging_errors(observer, BaseException)
        self._events: deque[Event] = deque(maxlen=MAX_WAITING)
        self._changed = threading.Condition()
        self._num_handled = self._num_dropped = 0
        self._is_busy = self._is_closed = False
        threading.Thread(target=self._run, name=f"tutelage-observer-{self._name}", daemon=True).start()

    def put(self, event: Event) -> None:
        with self._changed:
            self._num_dropped += len(self._events) == MAX_WAITING
            self._events.append(event)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            while self._events or self._is_busy:
                before = self._num_handled
                if not self._changed.wait_for(lambda before=before: self._num_handled > before, PATIENCE_S):  # type: ignore[misc]
                    break
            left = len(self._events) + self._is_busy + self._num_dropped
            self._events.clear()
            self._is_closed = True
            self._changed.notify_all()
        if left:
            logger.warning(
                "The observer %s was too slow for %d events, which it was not given or has not handled.", self._name, left
            )

    def _run(self) -> None:
        while (event := self._next()) is not None:
            self._observer(event)
            with self._changed:
                self._num_handled += 1
                self._is_busy = False
                self._changed.notify_all()

    def _next(self) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._is_closed)
            if not self._events:
                return None
            self._is_busy = True
            return self._events.popleft()


def _logging_errors(observer: Observer, kind: type[BaseException] = Exception) -> Observer:
    """Return the observer with its exceptions of a kind logged, the first of them with its traceback, instead of raised."""
    has_failed = False

    def guarded(event: Event) -> None:
        nonlocal has_failed
        try:
            observer(event)
        except StorageFailed as error:
            logger.warning("The observer %s has not handled an event: %s", _name_of(observer), error)
        except kind:
            if not has_failed:
                what = type(event).__name__
                logger.exception("The observer %s failed at %s; its further errors are not shown.", _name_of(observer), what)
            has_failed = True

    return guarded


def _name_of(observer: Observer) -> str:
    return getattr(observer, "__name__", type(observer).__name__)
