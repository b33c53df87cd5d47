"""The progress of a sweep that another process drives, drawn again as it goes: `tutelage status --watch`."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tutelage.console import plain
from tutelage.records import fronts
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views
from tutelage.report.text_plot import front_plot, in_encoding

ENDED = ("finished", "stopped", "failed", "interrupted")


def watch(home: SweepDir, every_s: float, console: Console) -> None:
    """Draw a sweep's status until it has ended; on no terminal, print it whenever it has changed."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            _repeat(
                home,
                every_s,
                lambda document: live.update(picture(home, document, console.size, console.encoding), refresh=True),
            )
        return
    last: list[Any] = [None]

    def print_change(document: dict[str, Any]) -> None:
        if document != last[0]:
            console.print(picture(home, document, (100, 30), console.encoding))
        last[0] = document

    _repeat(home, every_s, print_change)


def _repeat(home: SweepDir, every_s: float, show: Any) -> None:
    while True:
        document = json_views.status(home)
        show(document)
        if document["state"] in ENDED:
            return
        time.sleep(every_s)


def picture(home: SweepDir, status: dict[str, Any], size: tuple[int, int], encoding: str = "utf-8") -> Group:
    """Return a status document as lines for a screen of (columns, rows): counts, running trials, the front as a plot."""
    columns, rows = size
    table = Table(box=None, show_header=False, pad_edge=False)
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in status["trials"].items() if count)
    table.add_row(plain(f"{status['sweep']}: {status['state']}"), plain(counts or "no trial yet"))
    table.add_row("front", plain(_front_text(status)))
    if (left_s := status["time_left_s"]) is not None:
        table.add_row("time left", plain(f"about {duration(left_s)}"))
    running = status["running"]
    if running:
        more = f" and {len(running) - 8} more" if len(running) > 8 else ""
        table.add_row("training", plain(", ".join(one["trial"] for one in running[:8]) + more))
    height = len(Console(width=columns).render_lines(table))  # a narrow screen breaks its lines
    plot = in_encoding(_plot(home, columns, rows - height - 2), encoding)
    return Group(table, *(Text(line, overflow="crop", no_wrap=True) for line in plot))


def _front_text(status: dict[str, Any]) -> str:
    volume = status["hypervolume"]
    return f"{status['front_size']} students" + ("" if volume is None else f", hypervolume {volume:,.6g}")


def _plot(home: SweepDir, columns: int, rows: int) -> list[str]:
    facts = home.facts()
    if "objectives" not in facts:
        return []
    return front_plot(fronts.candidates(home), home.objectives(), facts["teacher"], min(columns, 100) - 1, min(rows, 20))


def duration(seconds: float) -> str:
    """Return a number of seconds in the unit in which people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
