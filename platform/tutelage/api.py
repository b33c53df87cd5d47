"""The Python interface: the steps of the command line as functions, with tables as pandas DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.errors import TutelageError
from tutelage.objectives import Limits
from tutelage.records import fronts, sweeps
from tutelage.report import tables
from tutelage.selection.select import select
from tutelage.spec.loading import load as load_spec
from tutelage.spec.spec import Spec
from tutelage.storage import as_directory
from tutelage.sweep.pipeline import sweep

if TYPE_CHECKING:
    import pandas as pd

    from tutelage.records.sweep_dir import SweepDir

__all__ = ["Limits", "Spec", "TutelageError", "find_sweep", "front", "load_spec", "select", "sweep", "trials"]


def find_sweep(name: str, storage: str | Path = ".tutelage") -> SweepDir:
    """Return the sweep with this name or MLflow run id; `InputError` names the nearest one if there is none."""
    return sweeps.find(as_directory(storage), name)


def front(home: SweepDir) -> pd.DataFrame:
    """Return the Pareto front of a sweep, one row a student, smallest first."""
    return tables.front_table(fronts.candidates(home), home.objectives())


def trials(home: SweepDir) -> pd.DataFrame:
    """Return all ended trials of a sweep, one row each, in order of suggestion."""
    return tables.trials_table(home.records())
