"""Observers that are slow or broken change nothing for the sweep, nor for other observers."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from tutelage.records import dispatcher
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, StageStarted

pytestmark = pytest.mark.slow


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, StageStarted)]


def test_a_listener_that_sleeps_and_one_that_raises_delay_and_end_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    attached: list[Event] = []

    def sleeping(event: Event) -> None:
        time.sleep(10)

    def raising(event: Event) -> None:
        raise ValueError("a bug")

    started_s = time.monotonic()
    with Dispatcher([sleeping, raising, heard.append]) as events:
        events.attach(raising)
        events.attach(attached.append)
        for number in range(1000):
            events.stage(str(number))
        sent_s = time.monotonic() - started_s
    assert sent_s < 1 and time.monotonic() - started_s < 4
    assert texts(heard) == texts(attached) == [str(number) for number in range(1000)]
    messages = [record.getMessage() for record in caplog.records]
    assert sum("raising failed at StageStarted" in message for message in messages) == 2, "once by each of the two ways"
    assert [message for message in messages if "sleeping was too slow for 1000 events" in message]
    assert "a bug" in caplog.text


def test_an_observer_that_keeps_up_gets_everything_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take longer than `PATIENCE_S` in all, as long as it handles something."""
    monkeypatch.setattr(dispatcher, "PATIENCE_S", 0.2)
    heard: list[Event] = []

    def steady(event: Event) -> None:
        time.sleep(0.02)
        heard.append(event)

    with Dispatcher([steady]) as events:
        for number in range(30):
            events.stage(str(number))
    assert len(heard) == 30


def test_a_queue_is_bounded_and_keeps_the_latest(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(dispatcher, "MAX_WAITING", 10)
    heard: list[Event] = []
    may_go, is_at_work = threading.Event(), threading.Event()

    def waiting(event: Event) -> None:
        is_at_work.set()
        may_go.wait()
        heard.append(event)

    with caplog.at_level(logging.WARNING), Dispatcher([waiting]) as events:
        events.stage("first")
        is_at_work.wait()
        for number in range(100):
            events.stage(str(number))
        may_go.set()
    assert texts(heard) == ["first", *(str(number) for number in range(90, 100))]
    assert "too slow for 90 events" in caplog.text


def test_an_interrupt_of_the_main_thread_is_not_an_observers_error() -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    events = Dispatcher()
    events.attach(interrupted)
    with pytest.raises(KeyboardInterrupt):
        events.stage("a")
