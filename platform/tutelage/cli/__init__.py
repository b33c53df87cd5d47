"""The command line: `tutelage COMMAND`. It parses arguments, calls the package and prints; it has no logic of its own.

stdout carries the result, stderr the progress; `--json` prints one JSON document and nothing else on stdout.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress

import typer

from tutelage import (
    console,
    rare_collections,  # noqa: F401  (before what is large)
)
from tutelage.cli import dashboards, exports, installation, students, sweeps, views
from tutelage.cli.stopping import stoppable
from tutelage.errors import TutelageError, UnreachableError

DENIED = (errno.EACCES, errno.EPERM)  # errors of a file that belongs to another user
_WRITTEN = ("written", "Make room or give access.")
_ACCESSED = ("accessed", "Ask its owner for access, or name another place.")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # errors of a disk, wherever they arise


app = typer.Typer(
    help="Find the best small networks that a big one can teach.",
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip


for _command in (
    sweeps.sweep, sweeps.resume, sweeps.teacher, sweeps.status,
    views.front, students.select, students.rollback, views.report, views.compare, dashboards.dashboard,
    exports.export, exports.evaluate, sweeps.track, installation.doctor, installation.schema,
):  # fmt: skip
    app.command()(stoppable(_command))
app.command(name="list")(stoppable(installation.list_plugins))


def main() -> None:
    """Run the command line; exit with the code of the error, if there is one.

    Modules of the user's own are also found in the working directory, after all that is installed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal whose encoding lacks a sign shows ? in its place
    with suppress(FileNotFoundError):  # the working directory may have been removed
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
    try:
        app(standalone_mode=True)
    except TutelageError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (*FULL, *DENIED):
            raise
        what, remedy = _WRITTEN if error.errno in FULL else _ACCESSED
        console.say(f"error: {error.filename or 'a file'} cannot be {what}: {error.strerror}. {remedy}", err=True)
        sys.exit(UnreachableError.exit_code)
