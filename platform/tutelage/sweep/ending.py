"""The end of a sweep's driver: its state, its seconds and the command to continue are recorded in all cases."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from tutelage import signals
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import SweepEnded
from tutelage.records.sweep_dir import SweepDir
from tutelage.redaction import redact
from tutelage.sweep.beat import beating

logger = logging.getLogger(__name__)


@contextmanager
def ending(home: SweepDir, events: Dispatcher) -> Iterator[None]:
    """Record how the block ends and send it as an event; if a signal stopped the sweep, log how to continue it."""
    started_s, spent_s = time.monotonic(), home.facts().get("elapsed_s", 0.0)

    def spent() -> dict[str, Any]:
        return {"elapsed_s": spent_s + time.monotonic() - started_s}

    def end(state: Literal["finished", "stopped", "failed"], error: str | None) -> None:
        home.update(state=state, error=error, **spent())
        events.send(SweepEnded(sweep=home.name, state=state, error=error and redact(error)))

    try:
        with signals.unmasked(), beating(home, spent):
            yield
    except signals.STOPS as stop:
        with signals.deferred():
            message = how_to_continue(home)
            end("stopped", message)
            stop.add_note(message)
            logger.warning(message)
        raise
    except BaseException as error:
        end("failed", str(error) or type(error).__name__)
        raise
    home.update(trials_before=None)
    end("finished", None)


def how_to_continue(home: SweepDir) -> str:
    """Return a message: what stopped the sweep, what is kept, and the command that continues it."""
    return (
        f"sweep '{home.name}' was stopped by {signals.received().name}. Finished students are kept. "
        f"To continue: {home.command('resume')}"
    )
