"""What a sweep's page shows of classes that the selected student takes for others, beside its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.report import layout

Confusions = Mapping[str, Any]  # the document of `selection.confusions`
MOST_CLASSES = 12  # of a matrix; of more classes, the most frequent confusions are listed
LISTED = 20


def confused(found: Confusions | None) -> str:
    """Return the section with a matrix of few classes, or a list of the most frequent confusions; "" without any label."""
    if not found or not any(one["student"] for one in found["sequences"].values()):
        return ""
    parts = []
    for name, one in found["sequences"].items():
        parts += [f"<h3>{layout.text(name)}</h3>"] if len(found["sequences"]) > 1 else []
        parts.append(_matrices(one) if len(one["classes"]) <= MOST_CLASSES else _list(one))
    shape = "A matrix has a row for each label and a column for each prediction."
    note = f"Labels and predictions of {found['compared']:,} {found['split']} examples. {shape}"
    return layout.section("Which classes are confused", layout.paragraphs([note], "quiet"), *parts)


def _matrices(one: Mapping[str, Any]) -> str:
    return (
        f'<div class="wide beside">{"".join(_matrix(role, one["classes"], one[role]) for role in ("student", "teacher"))}</div>'
    )


def _matrix(role: str, classes: list[str], counts: list[list[int]]) -> str:
    """Return a table with a row for each label; a cell's colour is its share of the row, orange where it is wrong."""
    found = {(label, predicted): count for label, predicted, count in counts}
    head = "".join(f"<th>{layout.text(name)}</th>" for name in classes)
    rows = []
    for label, name in enumerate(classes):
        total = sum(found.get((label, one), 0) for one in range(len(classes)))
        cells = "".join(_cell(found.get((label, one), 0), total, label == one) for one in range(len(classes)))
        rows.append(f"<tr><th>{layout.text(name)}</th>{cells}</tr>")
    title = f"<caption>{layout.text(role)}</caption>"
    return f'<table class="matrix">{title}<tr><th></th>{head}</tr>{"".join(rows)}</table>'


def _cell(count: int, total: int, is_right: bool) -> str:
    if not count:
        return "<td></td>"
    colour = "0,114,178" if is_right else "230,120,0"
    return f'<td style="background:rgba({colour},{0.12 + 0.5 * count / total:.2f})">{count:,}</td>'


def _list(one: Mapping[str, Any]) -> str:
    """Return a table of the pairs that the student confuses most often, with the teacher's count of each."""
    classes, teacher = one["classes"], {(label, predicted): count for label, predicted, count in one["teacher"]}
    total = sum(count for _, _, count in one["student"])
    wrong = [(label, predicted, count) for label, predicted, count in one["student"] if label != predicted]
    if not wrong:
        return layout.paragraphs([f"The student's {total:,} predictions are all correct."])
    rows = [
        (classes[label], classes[predicted], count, teacher.get((label, predicted), 0))
        for label, predicted, count in wrong[:LISTED]
    ]
    said = f"{sum(count for *_, count in wrong):,} of the student's {total:,} predictions are wrong; the most frequent pairs:"
    return layout.paragraphs([said]) + layout.table(("label", "prediction", "student", "teacher"), rows)
