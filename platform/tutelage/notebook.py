"""What a notebook shows of a sweep: a progress bar while it runs, and the explorer in a cell."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from tutelage.progress import Progress
from tutelage.records.observer import Event, Observer, SweepEnded
from tutelage.records.sweep_dir import SweepDir

GAP_S = 0.25  # between two drawings of the progress bar
LINES = 5  # of what was said last


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookProgress(Progress):
    """An observer that draws a progress bar with the latest lines in the cell; use it as a context manager.

    `show` draws HTML in place of what it drew before; by default in the notebook's cell.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._show, self._lines, self._drawn_s = show or _in_cell(), list[str](), -GAP_S

    def __enter__(self) -> NotebookProgress:
        self._show(self.html())
        return self

    def __exit__(self, *error: object) -> None:
        self._show(self.html())

    def __call__(self, event: Event) -> None:
        """Take an event in, and draw the bar again if the last drawing is some time ago."""
        super().__call__(event)
        now_s = time.monotonic()
        if now_s - self._drawn_s >= GAP_S or isinstance(event, SweepEnded):
            self._drawn_s = now_s
            self._show(self.html())

    def html(self) -> str:
        """Return the bar: ended trials of those to come, the front, and the latest lines."""
        ended, total = sum(self._states.values()), self._num_trials
        bar = (
            f'<progress max="{total}" value="{min(ended, total)}" style="width: 20em"></progress>'
            if total
            else "<progress></progress>"
        )
        text = f"{ended}{f' of {total}' if total else ''} trials ended; {self._front}; {len(self._running)} training"
        lines = html.escape("\n".join(self._lines))
        return f"<div>{bar} {html.escape(text)}</div><pre>{lines}</pre>"

    def _print(self, text: str) -> None:
        self._lines = [*self._lines, text][-LINES:]


def _in_cell() -> Callable[[str], None]:
    ipython = import_module("IPython.display")  # a notebook has it
    handle = ipython.display(ipython.HTML(""), display_id=True)
    return lambda text: handle.update(ipython.HTML(text))


class ExplorerCell:
    """The explorer of a sweep, served by this process at this machine's own address, in a cell as high as `height` pixels."""

    def __init__(self, home: SweepDir, height: int = 720) -> None:
        from tutelage.dashboard.cell import serve_in_thread

        self.url, self._height = serve_in_thread(home), height

    def _repr_html_(self) -> str:
        url = html.escape(self.url, quote=True)
        frame = f'<iframe title="Pareto explorer" src="{url}" width="100%" height="{self._height}" style="border: 0"></iframe>'
        return f'{frame}<p><a href="{url}" target="_blank" rel="noopener">Open it in a page of its own</a></p>'

    def __repr__(self) -> str:
        return f"the explorer at {self.url}"


@contextmanager
def observers_here(given: Sequence[Observer]) -> Iterator[list[Observer]]:
    """Give the observers, with a progress bar before them in a notebook."""
    if not is_notebook():
        yield list(given)
        return
    with NotebookProgress() as progress:
        yield [progress, *given]
