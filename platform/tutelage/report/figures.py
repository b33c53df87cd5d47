"""A sweep's front as a picture, still (PNG) and interactive (HTML)."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.escaping import for_matplotlib
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records.fronts import front_of
from tutelage.records.trial import TrialRecord
from tutelage.report import charts
from tutelage.report.charts import axes_of, label_of, points, third_of

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), distinguishable for colour-blind readers
FRONT_COLOUR, OTHER_COLOUR, TEACHER_COLOUR, CONFIRMED_COLOUR = "#0072B2", "#9A9A9A", "#D55E00", "#009E73"

Values = Mapping[str, float]


def _parted(
    records: Sequence[TrialRecord], objectives: Sequence[Objective]
) -> tuple[list[TrialRecord], list[TrialRecord]]:  # fmt: skip
    """Return the front's members in order of x, and the other finished records."""
    across, _ = axes_of(objectives)
    members = front_of(records, objectives)
    others = [record for record in records if record.state == "finished" and record not in members]
    return sorted(members, key=lambda record: record.measures[across.name]), others


def front_png(
    records: Sequence[TrialRecord], objectives: Sequence[Objective], teacher: Values | None = None,
    primary: Measure | None = None,
) -> bytes:  # fmt: skip
    """Return a picture of all finished students, the front as a staircase, and the teacher as a star, as PNG.

    Error bars are of the `primary` measure, and drawn where that is an axis.
    """
    across, up = axes_of(objectives)
    members, others = _parted(records, objectives)
    figure, axes = charts.still()
    axes.scatter(*points(others, across, up), s=charts.OTHER_MARK, color=OTHER_COLOUR, label=f"dominated ({len(others)})")
    _draw_front(figure, axes, members, objectives)
    if up.measure == primary:
        _draw_error_bars(axes, confirmed(records), across)
    if teacher and across.name in teacher and up.name in teacher:
        axes.scatter([teacher[across.name]], [teacher[up.name]], s=160, marker="*", color=TEACHER_COLOUR, label="teacher")
    return charts.png_of(figure, axes, across, up, title="Pareto front of the students")


def _draw_front(figure: Figure, axes: Axes, members: Sequence[TrialRecord], objectives: Sequence[Objective]) -> None:
    third, (x, y) = third_of(objectives), points(members, *axes_of(objectives))
    style: dict[str, Any] = {"s": charts.FRONT_MARK, "label": f"front ({len(members)})", "zorder": 3}
    if third is None:
        axes.plot(x, y, drawstyle="steps-post", color=FRONT_COLOUR, linewidth=charts.FRONT_LINE, alpha=charts.FRONT_ALPHA)
        axes.scatter(x, y, color=FRONT_COLOUR, **style)
    else:
        dots = axes.scatter(x, y, c=[record.measures[third.name] for record in members], cmap="cividis", **style)
        figure.colorbar(dots, ax=axes, label=for_matplotlib(label_of(third)))
    _open_inherited(axes, members, objectives)


def _open_inherited(axes: Axes, members: Sequence[TrialRecord], objectives: Sequence[Objective]) -> None:
    """Make the marks of inherited students open."""
    if inherited := [record for record in members if record.is_inherited]:
        style: dict[str, Any] = {"s": charts.FRONT_MARK / 3, "color": "white", "edgecolors": FRONT_COLOUR, "zorder": 4}
        axes.scatter(*points(inherited, *axes_of(objectives)), label=f"inherited ({len(inherited)})", **style)


def _draw_error_bars(axes: Axes, shown: Sequence[TrialRecord], across: Objective) -> None:
    if not shown:
        return
    means, below, above = _error_bars(shown)
    axes.errorbar(
        [record.measures[across.name] for record in shown], means, yerr=[below, above], fmt="D", markersize=4, capsize=2,
        linewidth=1, color=CONFIRMED_COLOUR, zorder=4, label=f"fresh seeds, 95 % interval ({len(shown)})",
    )  # fmt: skip


def front_figure(
    records: Sequence[TrialRecord], objectives: Sequence[Objective], teacher: Values | None = None,
    primary: Measure | None = None,
) -> go.Figure:  # fmt: skip
    """Return the same picture, interactive: a student's config shows under the pointer; a third objective is colour."""
    import plotly.graph_objects as go

    across, up = axes_of(objectives)
    members, others = _parted(records, objectives)
    figure = go.Figure()
    figure.add_trace(charts.dots(others, across, up, "dominated", mode="markers", marker={"color": OTHER_COLOUR, "size": 6}))
    figure.add_trace(_front_trace(members, objectives))
    if up.measure == primary and (shown := confirmed(records)):
        figure.add_trace(_confirmed_trace(shown, across, up))
    if teacher and across.name in teacher and up.name in teacher:
        star = {"color": TEACHER_COLOUR, "size": 16, "symbol": "star"}
        place = {"x": [teacher[across.name]], "y": [teacher[up.name]]}
        figure.add_trace(go.Scatter(**place, mode="markers", name="teacher", marker=star))
    return charts.lay_out(figure, across, up, height=520)


def _front_trace(members: Sequence[TrialRecord], objectives: Sequence[Objective]) -> go.Scatter:
    third = third_of(objectives)
    marker: dict[str, Any] = {"color": FRONT_COLOUR, "size": 10}
    if third:
        colours = [record.measures[third.name] for record in members]
        marker |= {"color": colours, "colorscale": "Cividis", "colorbar": {"title": html.escape(label_of(third))}}
    line = {"shape": "hv", "color": FRONT_COLOUR, "width": 1}
    mode = "markers" if third else "lines+markers"
    return charts.dots(members, *axes_of(objectives), "front", mode=mode, marker=marker, line=line)


def _error_bars(records: Sequence[TrialRecord]) -> tuple[list[float], list[float], list[float]]:
    """Return what fresh seeds gave of each record: mean, and how far the 95 % interval goes below and above it."""
    means = [record.measures["confirmed_mean"] for record in records]
    lows = [mean - record.measures.get("confirmed_low", mean) for record, mean in zip(records, means, strict=True)]
    highs = [record.measures.get("confirmed_high", mean) - mean for record, mean in zip(records, means, strict=True)]
    return means, lows, highs


def confirmed(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return those of `records` that were trained again with fresh seeds."""
    return [record for record in records if "confirmed_mean" in record.measures]


def _confirmed_trace(records: Sequence[TrialRecord], across: Objective, up: Objective) -> go.Scatter:
    means, below, above = _error_bars(records)
    bars = {"type": "data", "symmetric": False, "color": CONFIRMED_COLOUR, "array": above, "arrayminus": below}
    marker = {"color": CONFIRMED_COLOUR, "size": 8, "symbol": "diamond"}
    trace = charts.dots(records, across, up, "fresh seeds, mean and 95 % interval", mode="markers", marker=marker)
    return trace.update(y=means, error_y=bars)


def add_baseline(
    figure: go.Figure, objectives: Sequence[Objective], records: Sequence[TrialRecord], baseline: Mapping[str, Any]
) -> None:
    """Add the label-only baseline of `baseline["trial"]` to the picture, if its measure is an axis."""
    import plotly.graph_objects as go

    across, up = axes_of(objectives)
    sizes = {record.trial_id: record.measures[across.name] for record in records if across.name in record.measures}
    if up.name != baseline["measure"] or baseline["trial"] not in sizes:
        return
    marker = {"color": "#000000", "size": 11, "symbol": "x-thin-open"}
    place = {"x": [sizes[baseline["trial"]]], "y": [baseline["value"]]}
    figure.add_trace(go.Scatter(**place, mode="markers", name=f"{baseline['trial']}, label-only baseline", marker=marker))


def front_html(
    records: Sequence[TrialRecord], objectives: Sequence[Objective], teacher: Values | None = None,
    primary: Measure | None = None,
) -> str:  # fmt: skip
    """Return the interactive picture as a page that needs no network."""
    page: str = front_figure(records, objectives, teacher, primary).to_html(include_plotlyjs=True, full_html=True)
    return page
