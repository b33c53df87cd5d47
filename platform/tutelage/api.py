"""The Python interface: the steps of the command line as functions, with tables as pandas DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.errors import TutelageError
from tutelage.notebook import ExplorerCell, observers_here
from tutelage.objectives import Limits
from tutelage.records import sweeps
from tutelage.records.observer import Observer
from tutelage.report import tables
from tutelage.selection.select import select
from tutelage.spec.loading import load as load_spec
from tutelage.spec.spec import Spec
from tutelage.storage import as_directory
from tutelage.sweep import pipeline

if TYPE_CHECKING:
    import pandas as pd

    from tutelage.records.sweep_dir import SweepDir
    from tutelage.report.notebook import FrontTable

__all__ = ["Limits", "Spec", "TutelageError", "explore", "find_sweep", "front", "load_spec", "select", "sweep", "trials"]


def sweep(spec: Spec, *, address: str | None = None, observers: Sequence[Observer] = ()) -> SweepDir:
    """Run a whole sweep, as `pipeline.sweep` does; in a notebook with a progress bar. Return it; a notebook shows its front."""
    from tutelage.report.notebook import ShownSweep

    with observers_here(observers) as all_observers:
        home = pipeline.sweep(spec, address=address, observers=all_observers)
    return ShownSweep(home.storage, home.name)


def find_sweep(name: str, storage: str | Path = ".tutelage") -> SweepDir:
    """Return the sweep with this name or MLflow run id; `InputError` names the nearest one if there is none."""
    from tutelage.report.notebook import ShownSweep

    found = sweeps.find(as_directory(storage), name)
    return ShownSweep(found.storage, found.name)


def front(home: SweepDir) -> FrontTable:
    """Return the Pareto front of a sweep, a pandas DataFrame of one row a student, smallest first; a notebook draws it too."""
    from tutelage.report.notebook import front_table

    return front_table(home)


def explore(home: SweepDir, height: int = 720) -> ExplorerCell:
    """Return the explorer of a sweep for a cell of a notebook, `height` pixels high; this process serves it to this machine."""
    return ExplorerCell(home, height)


def trials(home: SweepDir) -> pd.DataFrame:
    """Return all ended trials of a sweep, one row each, in order of suggestion."""
    return tables.trials_table(home.records())
