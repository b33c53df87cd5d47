"""What all pictures of fronts have in common: axes, scales, labels, and how they are written as PNG or HTML."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tutelage.escaping import for_matplotlib
from tutelage.objectives import Objective
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redacted

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INHERITED = "cut from a trained student of the same trial, not trained from scratch"
FRONT_LINE = 1.2  # width of a front's staircase in points, and its opacity
FRONT_ALPHA = 0.6
FRONT_MARK, OTHER_MARK = 34, 18  # area of a still picture's marks in square points


def axes_of(objectives: Sequence[Objective]) -> tuple[Objective, Objective]:
    """Return the objectives for x (a size, if there is one) and y."""
    across = next((o for o in objectives if o.measure.is_cost), objectives[-1])
    return across, next((o for o in objectives if o is not across), across)


def third_of(objectives: Sequence[Objective]) -> Objective | None:
    """Return the objective that colour shows, if any; the front is a staircase only without one."""
    return next((o for o in objectives if o not in axes_of(objectives)), None)


def label_of(objective: Objective) -> str:
    """Return an axis title: the measure's label and unit."""
    measure = objective.measure
    return measure.label if measure.unit in (measure.label, "share") else f"{measure.label} ({measure.unit})"


def points(records: Sequence[TrialRecord], across: Objective, up: Objective) -> tuple[list[float], list[float]]:
    """Return the x and the y of `records` on a picture."""
    return [r.measures[across.name] for r in records], [r.measures[up.name] for r in records]


def hover_of(record: TrialRecord) -> str:
    """Return what shows of a trial under the pointer, as escaped HTML."""
    measures = [f"{name} {value:,.6g}" for name, value in record.measures.items()]
    searched = redacted(record.params).items()
    params = [f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in searched]
    origin = [INHERITED] if record.is_inherited else []
    return "<br>".join([f"<b>{html.escape(record.trial_id)}</b>", *map(html.escape, [*origin, *measures, *params])])


def still() -> tuple[Figure, Axes]:
    """Return an empty still picture and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    return figure, figure.add_subplot()


def png_of(figure: Figure, axes: Axes, across: Objective, up: Objective, title: str = "") -> bytes:
    """Return a still picture with its axes, legend and title as PNG."""
    if across.measure.has_log_axis:
        axes.set_xscale("log")
    if up.measure.has_log_axis:
        axes.set_yscale("log")
    axes.set(xlabel=for_matplotlib(label_of(across)), ylabel=for_matplotlib(label_of(up)), title=for_matplotlib(title))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def dots(records: Sequence[TrialRecord], across: Objective, up: Objective, name: str, **style: Any) -> go.Scatter:
    """Return one trace of an interactive picture: `records` under `name`, each with its config under the pointer.

    The marks of inherited students are open.
    """
    import plotly.graph_objects as go

    x, y = points(records, across, up)
    if any(record.is_inherited for record in records):
        closed = style["marker"].get("symbol", "circle")
        symbols = [f"{closed}-open" if record.is_inherited else closed for record in records]
        style = {**style, "marker": {**style["marker"], "symbol": symbols}}
    return go.Scatter(
        x=x, y=y, name=f"{html.escape(name)} ({len(records)})", text=[hover_of(record) for record in records],
        hovertemplate="%{text}<extra></extra>", **style,
    )  # fmt: skip


def lay_out(figure: go.Figure, across: Objective, up: Objective, height: int) -> go.Figure:
    """Return an interactive picture with its axes and its legend."""
    figure.update_layout(
        template="plotly_white", height=height, margin={"t": 30, "r": 20}, legend={"orientation": "h", "y": 1.08},
        xaxis_title=html.escape(label_of(across)), yaxis_title=html.escape(label_of(up)),
    )  # fmt: skip
    if across.measure.has_log_axis:
        figure.update_xaxes(type="log")
    if up.measure.has_log_axis:
        figure.update_yaxes(type="log")
    return figure
