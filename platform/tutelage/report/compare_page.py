"""Several fronts on one picture, still or interactive, and on one page that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.errors import first_names
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records import fronts
from tutelage.records.trial import TrialRecord
from tutelage.report import charts, layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)
MARKS = (("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("v", "triangle-down"), ("P", "cross"))

Candidates = Mapping[str, Sequence[TrialRecord]]  # those of each sweep, by its name


def _fronts(candidates: Candidates, objectives: Sequence[Objective]) -> dict[str, list[TrialRecord]]:
    """Return each sweep's front in order of the picture's x."""
    across, _ = charts.axes_of(objectives)
    found = {name: fronts.front_of(records, objectives) for name, records in candidates.items()}
    return {name: sorted(members, key=lambda record: record.measures[across.name]) for name, members in found.items()}


def fronts_png(candidates: Candidates, objectives: Sequence[Objective]) -> bytes:
    """Return a picture with every sweep's front, in a colour and with a mark of its own, as PNG."""
    across, up = charts.axes_of(objectives)
    figure, axes = charts.still()
    for number, (name, members) in enumerate(_fronts(candidates, objectives).items()):
        colour, (mark, _) = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        x, y = charts.points(members, across, up)
        if len(objectives) == 2:
            axes.plot(x, y, drawstyle="steps-post", color=colour, linewidth=charts.FRONT_LINE, alpha=charts.FRONT_ALPHA)
        axes.scatter(x, y, s=charts.FRONT_MARK, color=colour, marker=mark, label=f"{name} ({len(members)})", zorder=3)
    return charts.png_of(figure, axes, across, up)


def figure_of(candidates: Candidates, objectives: Sequence[Objective]) -> go.Figure:
    """Return the same picture, interactive."""
    import plotly.graph_objects as go

    across, up = charts.axes_of(objectives)
    figure, mode = go.Figure(), "lines+markers" if len(objectives) == 2 else "markers"
    for number, (name, members) in enumerate(_fronts(candidates, objectives).items()):
        colour, (_, symbol) = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        marker, line = {"color": colour, "size": 9, "symbol": symbol}, {"shape": "hv", "color": colour, "width": 1}
        figure.add_trace(charts.dots(members, across, up, name, mode=mode, marker=marker, line=line))
    return charts.lay_out(figure, across, up, height=480)


def page(candidates: Candidates, objectives: Sequence[Objective], document: Mapping[str, Any]) -> str:
    """Return picture and tables of the comparison `document` as a page that needs no network."""
    title = " against ".join(one["sweep"] for one in document["sweeps"])
    against = ", ".join(f"{name} {value:,g}" for name, value in document["reference"].items())
    sections = [
        layout.section("The fronts", layout.plot(figure_of(candidates, objectives))),
        layout.section(
            "In numbers", layout.table(*summary(document)), layout.paragraphs([f"Hypervolumes up to {against}."], "quiet")
        ),
        _best_section(document),
        layout.section("Who beats whom", layout.table(*beaten(document), "text")),
        layout.section("To bear in mind", layout.paragraphs(document["notes"])),
    ]
    return layout.page(title, layout.headline(title, {}), sections)


def _best_section(document: Mapping[str, Any]) -> str:
    if not document["size"]:
        return ""
    label = Measure.from_document(document["measure"]).label
    return layout.section(f"Best {label} by {document['size']}", layout.table(*best(document)))


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
        shown = first_names(one["trials"], 12)
        rows.append([one["sweep"], one["by"], f"{len(one['trials'])} of {one['of']}", shown])
    return ["front of", "dominated by", "students", "which"], rows
