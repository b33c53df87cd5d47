"""How a front and a sweep show themselves in a notebook: the picture and the table."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records import fronts
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, json_views, tables

SHOWN_WIDTH = "max-width: 720px; width: 100%"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a picture of a front is drawn from; it is drawn when it is shown."""

    records: Sequence[TrialRecord]
    objectives: Sequence[Objective]
    teacher: Mapping[str, float]
    primary: Measure
    measures: Mapping[str, Measure]

    @classmethod
    def of(cls, home: SweepDir) -> Picture:
        """Return the picture of a sweep's front."""
        return cls(
            records=fronts.candidates(home),
            objectives=home.objectives(),
            teacher=home.facts()["teacher"],
            primary=home.primary(),
            measures=home.measures(),
        )

    def _repr_html_(self) -> str:
        png = figures.front_png(self.records, self.objectives, self.teacher, self.primary)
        return f'<img alt="Pareto front of the students" style="{SHOWN_WIDTH}" src="data:image/png;base64,{_base64(png)}">'


class FrontTable(pd.DataFrame):
    """A front as a pandas DataFrame, one row a student, that has its picture above it in a notebook.

    What is made of it, such as a selection of rows, is a plain DataFrame.
    """

    _metadata = ["_picture"]  # noqa: RUF012  (pandas' own name for attributes that are no columns)
    _picture: Picture | None

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        picture = getattr(self, "_picture", None)
        if picture is None or not len(self):
            plain: str | None = super()._repr_html_()  # type: ignore[misc]
            return plain
        table: Any = _written(self, picture.measures)
        return f"{picture._repr_html_()}{table._repr_html_() or ''}"


def _written(table: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.DataFrame:
    """Return a table whose measures are written as everywhere else, such as 1,834 and 0.9721; absent ones are empty."""
    text = {name: measure.text for name, measure in measures.items()}
    columns = {
        name: table[name].map(text[name], "ignore").astype(object).fillna("") if name in text else table[name] for name in table
    }
    return pd.DataFrame(columns)


def front_table(home: SweepDir) -> FrontTable:
    """Return the front of a sweep, smallest first, as a table that shows its picture."""
    picture = Picture.of(home)
    table = FrontTable(tables.front_table(picture.records, picture.objectives))
    table._picture = picture
    return table


class ShownSweep(SweepDir):
    """A sweep that shows its state and its front in a notebook."""

    def _repr_html_(self) -> str:
        status = json_views.status(self)
        counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in status["trials"].items() if count)
        head = f"<b>{html.escape(self.name)}</b>: {status['state']}; {counts or 'no trial yet'}"
        commands = [self.command("select"), self.command("dashboard")]
        tail = " · ".join(f"<code>{html.escape(command)}</code>" for command in commands)
        shown: Any = front_table(self)._repr_html_() if status["front_size"] else ""
        return f"<p>{head}</p>{shown}<p>{tail}</p>"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
