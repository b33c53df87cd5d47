"""How a command ends that a signal stops."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from tutelage import signals

P = ParamSpec("P")
T = TypeVar("T")


def stoppable(command: Callable[P, T]) -> Callable[P, T]:
    """Return the command, which ends with 130, 143 or 129 on SIGINT (Ctrl-C), SIGTERM or SIGHUP, with a message on stderr.

    A sweep has then logged how to continue it.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with signals.raised():
                return command(*args, **kwargs)
        except signals.STOPS as stop:
            with signals.deferred(), contextlib.suppress(OSError):  # after SIGHUP there may be no terminal
                if not hasattr(stop, "__notes__"):
                    typer.echo(f"stopped by {signals.received().name}.", err=True)
            raise typer.Exit(128 + signals.received()) from None

    return run
