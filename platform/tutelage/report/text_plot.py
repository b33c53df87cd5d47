"""A sweep's front as a plot of characters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records.fronts import front_of
from tutelage.records.trial import TrialRecord
from tutelage.report.charts import axes_of

FRONT, OTHER, TEACHER = "●", "·", "★"
LEAST_WIDTH, LEAST_HEIGHT = 24, 6  # characters
LEAST_COLUMNS = 4  # of the plot itself, beside the numbers of its axis
_ASCII = str.maketrans({FRONT: "*", OTHER: ".", TEACHER: "T", "│": "|", "└": "+", "─": "-"})


def front_plot(
    records: Sequence[TrialRecord], objectives: Sequence[Objective], teacher: Mapping[str, float], width: int, height: int
) -> list[str]:  # fmt: skip
    """Return the lines of a plot of the finished students: front ●, dominated ·, teacher ★, on the axes of the pictures.

    The first line and the last have the ends of the axes; an axis is logarithmic where the measure's is. Of marks at one place
    the front's is shown. No student gives no line.
    """
    across, up = (one.measure for one in axes_of(objectives))
    front = {record.trial_id for record in front_of(records, objectives)}
    finished: list[tuple[Mapping[str, float], str]] = [
        (record.measures, FRONT if record.trial_id in front else OTHER) for record in records if record.state == "finished"
    ]
    marks = [(measures, mark) for measures, mark in [*finished, (teacher, TEACHER)] if {across.name, up.name} <= set(measures)]
    if all(mark == TEACHER for _, mark in marks):
        return []
    left, columns, rows = _label_width(marks, up), max(width, LEAST_WIDTH), max(height, LEAST_HEIGHT) - 3
    columns = max(LEAST_COLUMNS, columns - left - 2)
    x, low_x, high_x = _places([measures[across.name] for measures, _ in marks], across, columns)
    y, low_y, high_y = _places([measures[up.name] for measures, _ in marks], up, rows)
    grid = [[" "] * columns for _ in range(rows)]
    for place in sorted(range(len(marks)), key=lambda place: (OTHER, TEACHER, FRONT).index(marks[place][1])):
        grid[rows - 1 - y[place]][x[place]] = marks[place][1]
    ends = {0: up.text(high_y), rows - 1: up.text(low_y)}
    lines = [f"{ends.get(row, ''):>{left}} │{''.join(line).rstrip()}" for row, line in enumerate(grid)]
    first, last = across.text(low_x), across.text(high_x)
    room = max(0, columns - len(first) - len(last))
    name = _axis_name(across)
    name = name if len(name) + 2 <= room else ""
    bottom = f"{'':>{left}}  {first}{name:^{room}}{last}"
    return [f"{'':>{left}} {_axis_name(up)}", *lines, f"{'':>{left}} └{'─' * columns}", bottom]


def in_encoding(lines: Sequence[str], encoding: str) -> list[str]:
    """Return the lines of a plot for a terminal of that encoding; without its marks: front *, dominated ., teacher T."""
    try:
        "".join(lines).encode(encoding)
    except UnicodeEncodeError:
        return [line.translate(_ASCII) for line in lines]
    return list(lines)


def _axis_name(measure: Measure) -> str:
    return f"{measure.label}, log" if measure.has_log_axis else measure.label


def _label_width(marks: Sequence[tuple[Mapping[str, float], str]], up: Measure) -> int:
    return max(len(up.text(measures[up.name])) for measures, _ in marks)


def _places(values: Sequence[float], measure: Measure, count: int) -> tuple[list[int], float, float]:
    """Return for each value its cell of `count` from the lowest to the highest value, and these two."""
    scaled = np.array([math.log10(value) if measure.has_log_axis and value > 0 else value for value in values])
    span = float(np.ptp(scaled))
    shares = (scaled - scaled.min()) / span if span > 0 else np.full(len(scaled), 0.5)
    return [round(float(share) * (count - 1)) for share in shares], min(values), max(values)
