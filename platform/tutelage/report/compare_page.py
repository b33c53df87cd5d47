"""Several fronts on one picture, still or moving, and on one page that opens offline."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.files import write_atomically
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records import fronts
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, sweep_page

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)


MARKS = (("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("v", "triangle-down"), ("P", "cross"))


def _fronts(
    candidates: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Objective]
) -> list[tuple[str, list[TrialRecord], list[float], list[float]]]:
    """Return each sweep's front in order of the picture's x, with its x and y."""
    across, up = figures.axes_of(objectives)
    found = []
    for name, records in candidates.items():
        members = sorted(fronts.front_of(records, objectives), key=lambda record: record.measures[across.name])
        found.append((name, members, *figures.points(members, across, up)))
    return found


def write_png(candidates: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Objective], path: Path) -> None:
    """Draw every sweep's front on one picture, in a colour and with a mark of its own; PNG, written atomically."""
    from matplotlib.figure import Figure

    across, up = figures.axes_of(objectives)
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for number, (name, members, x, y) in enumerate(_fronts(candidates, objectives)):
        colour, (mark, _) = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        if len(objectives) == 2:
            axes.plot(x, y, drawstyle="steps-post", color=colour, linewidth=1.2, alpha=0.6)
        axes.scatter(x, y, s=34, color=colour, marker=mark, label=f"{name} ({len(members)})", zorder=3)
    if across.measure.has_log_axis:
        axes.set_xscale("log")
    if up.measure.has_log_axis:
        axes.set_yscale("log")
    axes.set(xlabel=figures.label_of(across), ylabel=figures.label_of(up))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def figure_of(candidates: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Objective]) -> go.Figure:
    """Return the same picture to move about in."""
    import plotly.graph_objects as go

    across, up = figures.axes_of(objectives)
    figure = go.Figure()
    for number, (name, members, x, y) in enumerate(_fronts(candidates, objectives)):
        colour, (_, mark) = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        mode = "lines+markers" if len(objectives) == 2 else "markers"
        figure.add_trace(
            go.Scatter(
                x=x, y=y, name=f"{html.escape(name)} ({len(members)})", mode=mode,
                marker={"color": colour, "size": 9, "symbol": mark}, line={"shape": "hv", "color": colour, "width": 1},
                text=[figures.hover_of(record) for record in members], hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=480, xaxis_title=figures.label_of(across), yaxis_title=figures.label_of(up),
        legend={"orientation": "h", "y": 1.08},
    )  # fmt: skip
    figures.log_axes(figure, across, up)
    return figure


def write_html(
    candidates: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Objective], document: Mapping[str, Any], path: Path
) -> None:  # fmt: skip
    """Write picture and tables as a page that needs no network, atomically."""
    names = [one["sweep"] for one in document["sweeps"]]
    title = " against ".join(names)
    drawn = sweep_page.moving(figure_of(candidates, objectives))
    against = ", ".join(f"{name} {value:,g}" for name, value in document["reference"].items())
    sections = [
        f'<h2>The fronts</h2><div class="plot">{drawn}</div>',
        "<h2>In numbers</h2>"
        + sweep_page.table(*summary(document))
        + f'<p class="quiet">Hypervolumes up to {html.escape(against)}.</p>',
        f"<h2>Best {html.escape(Measure.from_document(document['measure']).label)} by {html.escape(str(document['size']))}</h2>"
        + sweep_page.table(*best(document))
        if document["size"]
        else "",
        "<h2>Who beats whom</h2>" + sweep_page.table(*beaten(document), "text"),
        "<h2>To bear in mind</h2>" + "".join(f"<p>{html.escape(note)}</p>" for note in document["notes"]),
    ]
    write_atomically(path, sweep_page.page(title, f"<h1>{html.escape(title)}</h1>", sections))


Rows = tuple[list[str], list[list[Any]]]


def summary(document: Mapping[str, Any]) -> Rows:
    """Return header and rows: one a sweep, its hypervolume, front, trials and seconds."""
    keys = ("sweep", "hypervolume", "front_size", "trials", "finished", "epochs", "search_s", "elapsed_s")
    rows = [["" if one[key] is None else one[key] for key in keys] for one in document["sweeps"]]
    return [key.replace("_", " ") for key in keys], rows


def best(document: Mapping[str, Any]) -> Rows:
    """Return header and rows: one a bound on the size, each sweep's best primary measure within it."""
    names, primary = [one["sweep"] for one in document["sweeps"]], Measure.from_document(document["measure"])
    bounds = [at["at_most"] for at in document["sweeps"][0]["best_at"]]
    rows: list[list[Any]] = []
    for number, bound in enumerate(bounds):
        values = [one["best_at"][number]["value"] for one in document["sweeps"]]
        rows.append([f"≤ {bound:,g}", *("none" if value is None else primary.text(value) for value in values)])
    return [str(document["size"]), *names], rows


def beaten(document: Mapping[str, Any]) -> Rows:
    """Return header and rows: of each sweep's front, the students that another's front dominates."""
    rows: list[list[Any]] = []
    for one in document["dominated"]:
        shown = ", ".join(one["trials"][:12]) + (", …" if len(one["trials"]) > 12 else "")
        rows.append([one["sweep"], one["by"], f"{len(one['trials'])} of {one['of']}", shown])
    return ["front of", "dominated by", "students", "which"], rows
