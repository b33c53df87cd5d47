"""Signals as exceptions: raised in a block, dropped during a cleanup, left alone where somebody else handles them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tutelage import signals


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    inherited = {number: signal.getsignal(number) for number in signals.HANDLED}  # ignored ones, if the tests run under nohup
    for number in signals.HANDLED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in signals.HANDLED}
    yield
    after = {number: signal.getsignal(number) for number in signals.HANDLED}
    for number, handler in inherited.items():
        signal.signal(number, handler)
    assert after == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_unwinds_as_an_interrupt_and_leaves_as_an_exit(number: int, code: int) -> None:
    def stopped() -> None:
        with signals.raised(), signals.raised():
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt as stop:
                stop.add_note("how to continue")
                raise

    with pytest.raises(SystemExit) as caught:
        stopped()
    assert (caught.value.code, caught.value.__notes__) == (code, ["how to continue"])
    assert signals.received() == number


def test_ctrl_c_stays_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), signals.raised():
        signal.raise_signal(signal.SIGINT)
    assert signals.received() == signal.SIGINT


@pytest.mark.parametrize(("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGHUP, SystemExit)])
def test_an_error_that_foreign_code_makes_of_the_interrupt_is_the_stop(number: int, end: type[BaseException]) -> None:
    def imports() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with pytest.raises(end), signals.raised():
        imports()
    assert signals.received() == number
    with pytest.raises(ImportError), signals.raised():
        raise ImportError("no signal was received here")


def test_an_interrupt_of_somebody_else_counts_as_ctrl_c_whatever_came_before() -> None:
    with pytest.raises(SystemExit), signals.raised():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals.raised():
        raise KeyboardInterrupt
    assert signals.received() == signal.SIGINT


def test_a_cleanup_is_not_interrupted_unless_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    with signals.raised():
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            with signals.deferred():
                signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            now_s += signals.WIND_DOWN_S
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        now_s -= 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_handler_that_a_library_in_c_has_reset_is_set_again() -> None:
    """What Python remembers of a handler is not what the system calls then."""
    ended = []

    def shuts_down() -> None:
        ctypes.CDLL(None).signal(int(signal.SIGTERM), 0)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        ended.append(True)

    with signals.raised(), signals.deferred():
        signals.keep_handlers(shuts_down)
    assert ended


def test_ignored_signals_and_handlers_of_the_caller_are_left_alone_and_those_of_ray_are_not() -> None:
    seen: list[int] = []

    def own(number: int, frame: Any) -> None:
        seen.append(number)

    def rays(number: int, frame: Any) -> None:
        raise AssertionError

    rays.__module__ = "ray._private.worker"
    before = [signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGINT, own)]
    term = signal.signal(signal.SIGTERM, rays)
    with signals.raised():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGINT] and signal.getsignal(signal.SIGTERM) is rays
    for number, handler in zip((signal.SIGHUP, signal.SIGINT, signal.SIGTERM), (*before, term), strict=True):
        signal.signal(number, handler)
