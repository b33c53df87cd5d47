"""Recorded trainings of the students of a search space, as a table: sizes, and errors after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tutelage.errors import InputError
from tutelage.measure import SMALLEST, Measure
from tutelage.objectives import Objective
from tutelage.records.trial import TrialRecord
from tutelage.search.gaussian_process import Array
from tutelage.spec.domains import Scalar
from tutelage.spec.space import Space

ERROR, CONFIG = "error_", "config."  # before the epoch, and before the name of a searched value: columns of a table's file


def log10_errors(errors: Array) -> Array:
    """Return the decimal logarithms of errors that are shares, raised by a thousandth."""
    found: Array = np.log10(errors + SMALLEST)
    return found


WHOLE = "whole_"  # in a recorded table, before the name of a size: its value until a student loses its channels


@dataclass(frozen=True)
class Table:
    """The recorded trainings of n students: sizes known before training `[n, known]`, sizes before anything is removed
    (`whole`), traits `[n, d]`, the error after each epoch `[n, seeds, epochs]`, and the seconds of an epoch `[n]`.

    `even` maps errors, an array, to the scale on which equal steps are equal gains; by default errors are shares.
    """

    known: Array
    whole: Array
    traits: Array
    errors: Array
    epoch_s: Array
    even: Callable[[Array], Array] = log10_errors

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def max_epochs(self) -> int:
        """Epochs of a student in full."""
        return int(self.errors.shape[2])

    @property
    def ends(self) -> Array:
        """Each student's logarithms of sizes and its mean error over the seeds on its even scale, `[n, known + 1]`."""
        mean = self.errors[:, :, -1].mean(axis=1)
        return np.column_stack([np.log10(self.known), self.even(mean)])

    def nearest(self, traits: Sequence[float]) -> int:
        """Return the student whose traits differ least, by the sum of squares; of equals the first."""
        return int(np.square(self.traits - np.asarray(traits)).sum(axis=1).argmin())


def read(path: Path, space: Space, names: Sequence[str] = ("params",)) -> Table:
    """Return the table in a file of `tests/benchmarks/record.py`, with the sizes `names`, without configs that lack a seed."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True)
    frame = frame[frame.groupby("config")["seed"].transform("size") == frame["seed"].nunique()].sort_values(["config", "seed"])
    frame.columns = frame.columns.astype(str)
    columns = sorted((c for c in frame.columns if c.startswith(ERROR)), key=lambda c: int(c.removeprefix(ERROR)))
    errors = frame[columns]
    seeds, first = frame["seed"].nunique(), frame[frame["seed"] == frame["seed"].min()]
    params = [_params(row) for row in first[[c for c in frame.columns if c.startswith(CONFIG)]].to_dict("records")]
    return Table(
        known=first[list(names)].to_numpy(np.float64),
        whole=np.column_stack([first.get(WHOLE + name, first[name]) for name in names]).astype(np.float64),
        traits=np.array([space.traits(one) for one in params]),
        errors=errors.to_numpy(np.float64).reshape(len(first), seeds, -1),
        epoch_s=first["epoch_s"].to_numpy(np.float64),
    )


def _params(row: Mapping[Any, Any]) -> dict[str, Scalar]:
    return {str(name).removeprefix(CONFIG): value for name, value in row.items() if not pd.isna(value)}


def recorded(records: Sequence[TrialRecord], objectives: Sequence[Objective], space: Space, learned: Measure) -> Table:
    """Return the table of a sweep's finished students with as many epochs as the longest; `InputError` if there is none.

    `learned` is the sweep's primary measure; the other objectives are sizes.
    """
    known = [objective.name for objective in objectives if objective.name != learned.name]
    finished = [record for record in records if record.state == "finished" and record.curve]
    longest = max((len(record.curve) for record in finished), default=0)
    kept = [record for record in finished if len(record.curve) == longest]
    if not kept:
        raise InputError("no student of the sweep has finished, so there is nothing to replay.")
    return Table(
        known=np.array([[record.measures[name] for name in known] for record in kept]),
        whole=np.array([[r.initial_sizes.get(name, r.measures[name]) for name in known] for r in kept]),
        traits=np.array([space.traits(record.params) for record in kept]),
        errors=np.array([[[learned.error(row[learned.name]) for row in record.curve]] for record in kept]),
        epoch_s=np.array([record.step_s / longest for record in kept]),
        even=np.vectorize(lambda error: learned.even_loss(learned.value_of(float(error))), otypes=[float]),
    )
