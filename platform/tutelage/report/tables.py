"""Trials and fronts as pandas tables and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tutelage import plugins
from tutelage.escaping import for_csv
from tutelage.objectives import Objective
from tutelage.records.fronts import front_of
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redacted

AVAILABLE = ("before_training", "each_epoch", "at_end", "on_device")  # when a measure is known, in that order


if TYPE_CHECKING:
    import pandas as pd


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row a record: trial or candidate, state, measures, searched params (absent where inactive), seconds.

    If any is a rung of a ladder, `inherited` of each row is whether its student was cut from another trained one.
    """
    import pandas as pd

    has_ladder = any(record.rung is not None for record in records)
    rows = [
        {
            "trial": r.trial_id,
            "state": r.state,
            **({"inherited": r.is_inherited} if has_ladder else {}),
            **_origin(r),
            **r.measures,
            **redacted(r.params),
            "elapsed_s": r.elapsed_s,
            "step_s": r.step_s,
        }
        for r in records
    ]
    return pd.DataFrame(rows)


def _origin(record: TrialRecord) -> dict[str, str | float]:
    """Return the columns of one candidate among several: its trial, what was removed from it, how it was made, its rung."""
    if not record.parent:
        return {}
    (own,) = record.candidates
    rung = {} if own.rung is None else {"rung": own.rung}
    return {"parent": record.parent, **rung, "amount": own.amount, "made": own.made}


def front_table(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> pd.DataFrame:
    """Return one row a front member, smallest first: trial, objectives, sizes, other measures, searched params."""
    members = front_of(records, objectives)
    first = ["trial", *dict.fromkeys([*(o.name for o in objectives), *_costs()])]
    table = trials_table(members).drop(columns=["state", "elapsed_s", "step_s"], errors="ignore")
    present = [name for name in first if name in table.columns]
    return table[present + [name for name in table.columns if name not in present]]


def _costs() -> list[str]:
    """Return the names of the package's costs, those first that are known first."""
    costs = [measure for measure in map(plugins.measure, plugins.names("measures")) if measure.is_cost]
    return [measure.name for measure in sorted(costs, key=lambda cost: AVAILABLE.index(cost.available))]


def csv_of(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no cell is a formula to a spreadsheet (see `escaping.for_csv`)."""
    text: str = table.rename(columns=for_csv).map(for_csv).to_csv(index=False)
    return text
