"""The Python interface: what the command line does, with tables as pandas DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tutelage import pipeline, report, store
from tutelage.choosing import select
from tutelage.errors import TutelageError
from tutelage.objectives import Limits
from tutelage.pipeline import sweep
from tutelage.spec import Spec
from tutelage.spec import load as load_spec

if TYPE_CHECKING:
    import pandas as pd

    from tutelage.store import SweepDir

__all__ = ["Limits", "Spec", "TutelageError", "find_sweep", "front", "load_spec", "select", "sweep", "trials"]


def find_sweep(name: str, storage: str | Path = ".tutelage") -> SweepDir:
    """Return a sweep by its name or MLflow run id; `InputError` with the nearest name if there is none."""
    return store.find(Path(storage), name)


def front(home: SweepDir) -> pd.DataFrame:
    """Return the Pareto front, one row a student, smallest first."""
    return report.front_table(pipeline.candidates(home), home.objectives())


def trials(home: SweepDir) -> pd.DataFrame:
    """Return all ended trials, one row each, in order of suggestion."""
    return report.trials_table(home.records())
