"""Signals as exceptions: SIGINT, SIGTERM and SIGHUP end the work in one way, by unwinding what runs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WIND_DOWN_S = 10.0  # a cleanup may take so long; a signal that comes later ends it


class Terminated(SystemExit):
    """SIGTERM or SIGHUP has ended the work; not caught, it ends the process with 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


STOPS = (KeyboardInterrupt, Terminated)

_received = int(signal.SIGINT)
_num_raised = 0
_deferred_until_s = 0.0


def received() -> signal.Signals:
    """Return the signal that the latest stop is of; SIGINT for an interrupt that this file has not raised."""
    return signal.Signals(_received)


@contextmanager
def raised() -> Iterator[None]:
    """Raise the signals as KeyboardInterrupt in the main thread within a block; the block ends with `Terminated`, or with
    KeyboardInterrupt for SIGINT.

    Ray passes on no other exception from its calls. A signal that the process ignores (`nohup`), and one that the caller
    handles, is left alone; handlers of Ray are replaced. In another thread nothing changes.
    """
    global _received
    _received = int(signal.SIGINT)
    replaced = _handle() if threading.current_thread() is threading.main_thread() else {}
    try:
        with unmasked():
            yield
    except KeyboardInterrupt as stop:
        if _received == signal.SIGINT:
            raise
        terminated = Terminated(_received)
        for note in getattr(stop, "__notes__", ()):
            terminated.add_note(note)
        raise terminated from stop
    finally:
        for number, handler in replaced.items():
            put_back(number, handler)


@contextmanager
def unmasked() -> Iterator[None]:
    """Raise KeyboardInterrupt for an error of a block in which a signal was raised.

    Foreign code may turn the interrupt into an error of its own, as a module in C does while it is imported.
    """
    before = _num_raised
    try:
        yield
    except Exception as error:
        if _num_raised == before:
            raise
        raise KeyboardInterrupt(received().name) from error


@contextmanager
def deferred() -> Iterator[None]:
    """Let a block of cleanup finish: signals within it are dropped, for at most `WIND_DOWN_S`."""
    global _deferred_until_s
    before, _deferred_until_s = _deferred_until_s, max(_deferred_until_s, time.monotonic() + WIND_DOWN_S)
    try:
        yield
    finally:
        _deferred_until_s = before


def keep_handlers(function: Callable[[], object]) -> None:
    """Run a function that resets the system's handlers behind Python's back, as Ray's library in C++ does when it shuts down.

    In the main thread the function runs in another one, and Python's handlers are set again and again until it returns. A
    second SIGTERM would otherwise end the process in the middle of its cleanup.
    """
    if threading.current_thread() is not threading.main_thread():
        function()
        return
    thread = threading.Thread(target=function)
    thread.start()
    while thread.is_alive():
        thread.join(0.005)
        for number in HANDLED:
            put_back(number, signal.getsignal(number))


def put_back(number: int, handler: Any) -> None:
    """Set the handler of a signal that `signal.getsignal` has returned, in the main thread."""
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


def _handle() -> dict[int, Any]:
    """Handle the signals that nobody but Python, Ray or this file does; return their handlers of before."""
    before = {int(number): signal.getsignal(number) for number in HANDLED}
    replaced = {number: handler for number, handler in before.items() if _is_default(handler)}
    for number in replaced:
        signal.signal(number, _raise)
    return replaced


def _is_default(handler: Any) -> bool:
    default = handler in (signal.SIG_DFL, signal.default_int_handler, _raise)
    return default or str(getattr(handler, "__module__", "")).split(".")[0] == "ray"


def _raise(number: int, frame: FrameType | None) -> None:
    if time.monotonic() >= _deferred_until_s:
        stop(number)


def stop(number: int) -> None:
    """Raise the KeyboardInterrupt that stands for a signal."""
    global _received, _num_raised
    _received, _num_raised = int(number), _num_raised + 1
    raise KeyboardInterrupt(signal.Signals(number).name)
