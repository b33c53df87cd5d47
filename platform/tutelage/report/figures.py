"""The front as a picture, still (PNG) and interactive (HTML)."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.files import write_atomically
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records.fronts import front_of
from tutelage.records.trial import TrialRecord

if TYPE_CHECKING:
    import plotly.graph_objects as go

FRONT_COLOUR, OTHER_COLOUR, TEACHER_COLOUR = (
    "#0072B2",
    "#9A9A9A",
    "#D55E00",
)  # Okabe and Ito (2008), distinguishable for colour-blind readers


CONFIRMED_COLOUR = "#009E73"


def axes_of(objectives: Sequence[Objective]) -> tuple[Objective, Objective]:
    """Return the objectives for x (a size, if there is one) and y."""
    across = next((o for o in objectives if o.measure.is_cost), objectives[-1])
    return across, next((o for o in objectives if o is not across), across)


def _third(objectives: Sequence[Objective]) -> Objective | None:
    """Return the objective that colour shows, if any; the front is a staircase only without one."""
    return next((o for o in objectives if o not in axes_of(objectives)), None)


def label_of(objective: Objective) -> str:
    """Return an axis title: the measure's label and unit."""
    measure = objective.measure
    return measure.label if measure.unit in (measure.label, "share") else f"{measure.label} ({measure.unit})"


def front_png(
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    path: Path,
    teacher: Mapping[str, float] | None = None,
    primary: Measure | None = None,
) -> None:
    """Draw all finished students, the front as a staircase, and the teacher as a star; PNG, written atomically.

    Error bars are of the `primary` measure, and drawn where that is an axis.
    """
    import io

    from matplotlib.figure import Figure

    across, up = axes_of(objectives)
    members = front_of(records, objectives)
    others = [r for r in records if r.state == "finished" and r not in members]
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*points(others, across, up), s=18, color=OTHER_COLOUR, label=f"dominated ({len(others)})")
    members = sorted(members, key=lambda r: r.measures[across.name])
    x, y = points(members, across, up)
    third = _third(objectives)
    if third is None:
        axes.plot(x, y, drawstyle="steps-post", color=FRONT_COLOUR, linewidth=1.2, alpha=0.6)
        axes.scatter(x, y, s=34, color=FRONT_COLOUR, label=f"front ({len(members)})", zorder=3)
    else:
        colours = [r.measures[third.name] for r in members]
        dots = axes.scatter(x, y, s=34, c=colours, cmap="cividis", label=f"front ({len(members)})", zorder=3)
        figure.colorbar(dots, ax=axes, label=label_of(third))
    shown = confirmed(records) if up.measure == primary else []
    if shown:
        means, below, above = _error_bars(shown)
        sizes = [record.measures[across.name] for record in shown]
        style: dict[str, Any] = {
            "fmt": "D",
            "markersize": 4,
            "capsize": 2,
            "linewidth": 1,
            "color": CONFIRMED_COLOUR,
            "zorder": 4,
        }
        axes.errorbar(sizes, means, yerr=[below, above], label=f"fresh seeds, 95 % interval ({len(shown)})", **style)
    if teacher and across.name in teacher and up.name in teacher:
        axes.scatter([teacher[across.name]], [teacher[up.name]], s=160, marker="*", color=TEACHER_COLOUR, label="teacher")
    if across.measure.has_log_axis:
        axes.set_xscale("log")
    if up.measure.has_log_axis:
        axes.set_yscale("log")
    axes.set(xlabel=label_of(across), ylabel=label_of(up), title="Students that no other beats")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def points(records: Sequence[TrialRecord], across: Objective, up: Objective) -> tuple[list[float], list[float]]:
    """Return the x and the y of `records` on the picture."""
    return [r.measures[across.name] for r in records], [r.measures[up.name] for r in records]


def front_figure(
    records: Sequence[TrialRecord], objectives: Sequence[Objective], teacher: Mapping[str, float] | None = None,
    primary: Measure | None = None,
) -> go.Figure:  # fmt: skip
    """Return the same picture, interactive: a student's config shows under the pointer; a third objective is colour."""
    import plotly.graph_objects as go

    across, up = axes_of(objectives)
    members = front_of(records, objectives)
    others = [r for r in records if r.state == "finished" and r not in members]
    figure = go.Figure()
    figure.add_trace(_trace(others, across, up, "dominated", {"color": OTHER_COLOUR, "size": 6}))
    members = sorted(members, key=lambda r: r.measures[across.name])
    third = _third(objectives)
    marker: dict[str, Any] = {"color": FRONT_COLOUR, "size": 10}
    if third:
        colours = [r.measures[third.name] for r in members]
        marker |= {"color": colours, "colorscale": "Cividis", "colorbar": {"title": label_of(third)}}
    figure.add_trace(_trace(members, across, up, "front", marker, "markers" if third else "lines+markers"))
    shown = confirmed(records) if up.measure == primary else []
    if shown:
        figure.add_trace(_confirmed_trace(shown, across))
    if teacher and across.name in teacher and up.name in teacher:
        star = {"color": TEACHER_COLOUR, "size": 16, "symbol": "star"}
        figure.add_trace(
            go.Scatter(x=[teacher[across.name]], y=[teacher[up.name]], mode="markers", name="teacher", marker=star)
        )
    figure.update_layout(
        template="plotly_white", height=520, margin={"t": 30, "r": 20}, xaxis_title=label_of(across), yaxis_title=label_of(up),
        legend={"orientation": "h", "y": 1.08},
    )  # fmt: skip
    log_axes(figure, across, up)
    return figure


def _error_bars(records: Sequence[TrialRecord]) -> tuple[list[float], list[float], list[float]]:
    """Return what fresh seeds gave of each record: mean, and how far the 95 % interval goes below and above it."""
    means = [record.measures["confirmed_mean"] for record in records]
    lows = [mean - record.measures.get("confirmed_low", mean) for record, mean in zip(records, means, strict=True)]
    highs = [record.measures.get("confirmed_high", mean) - mean for record, mean in zip(records, means, strict=True)]
    return means, lows, highs


def confirmed(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return those of `records` that were trained again with fresh seeds."""
    return [record for record in records if "confirmed_mean" in record.measures]


def _confirmed_trace(records: Sequence[TrialRecord], across: Objective) -> go.Scatter:
    import plotly.graph_objects as go

    means, below, above = _error_bars(records)
    bars = {"type": "data", "symmetric": False, "color": CONFIRMED_COLOUR, "array": above, "arrayminus": below}
    return go.Scatter(
        x=[record.measures[across.name] for record in records], y=means, error_y=bars, mode="markers",
        name=f"fresh seeds, mean and 95 % interval ({len(records)})", text=[hover_of(record) for record in records],
        hovertemplate="%{text}<extra></extra>", marker={"color": CONFIRMED_COLOUR, "size": 8, "symbol": "diamond"},
    )  # fmt: skip


def add_baseline(
    figure: go.Figure, objectives: Sequence[Objective], records: Sequence[TrialRecord], baseline: Mapping[str, Any]
) -> None:
    """Add to the picture what the network of `baseline["trial"]` has from labels alone, if that measure is an axis."""
    import plotly.graph_objects as go

    across, up = axes_of(objectives)
    sizes = {record.trial_id: record.measures[across.name] for record in records if across.name in record.measures}
    if up.name != baseline["measure"] or baseline["trial"] not in sizes:
        return
    figure.add_trace(
        go.Scatter(
            x=[sizes[baseline["trial"]]], y=[baseline["value"]], mode="markers",
            name=f"{baseline['trial']} from labels alone",
            marker={"color": "#000000", "size": 11, "symbol": "x-thin-open"},
        )
    )  # fmt: skip


def _trace(
    records: Sequence[TrialRecord], across: Objective, up: Objective, name: str, marker: dict[str, Any], mode: str = "markers"
) -> go.Scatter:  # fmt: skip
    import plotly.graph_objects as go

    x, y = points(records, across, up)
    return go.Scatter(
        x=x, y=y, mode=mode, name=f"{name} ({len(records)})", marker=marker, text=[hover_of(r) for r in records],
        hovertemplate="%{text}<extra></extra>", line={"shape": "hv", "color": FRONT_COLOUR, "width": 1},
    )  # fmt: skip


def log_axes(figure: go.Figure, across: Objective, up: Objective) -> None:
    """Give the figure logarithmic axes where the measures call for them."""
    if across.measure.has_log_axis:
        figure.update_xaxes(type="log")
    if up.measure.has_log_axis:
        figure.update_yaxes(type="log")


def hover_of(record: TrialRecord) -> str:
    """Return what shows of a trial under the pointer, as escaped HTML."""
    measures = [f"{name} {value:,.6g}" for name, value in record.measures.items()]
    params = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in record.params.items()]
    return "<br>".join([f"<b>{record.trial_id}</b>", *(html.escape(line) for line in [*measures, *params])])


def front_html(
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    path: Path,
    teacher: Mapping[str, float] | None = None,
    primary: Measure | None = None,
) -> None:
    """Write the interactive picture as a page that needs no network, atomically."""
    page: str = front_figure(records, objectives, teacher, primary).to_html(include_plotlyjs=True, full_html=True)
    write_atomically(path, page)
