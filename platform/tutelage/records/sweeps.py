"""The sweeps of a storage: found by name, listed, and made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tutelage.errors import InputError, WorkFailed, nearest
from tutelage.records.sweep_dir import SPEC, STARTED_IN, SweepDir
from tutelage.storage import open_storage


def sweep_at(storage: str | Path, name: str) -> SweepDir:
    """Return the sweep of that name, which need not exist."""
    return SweepDir(open_storage(storage), name)


def check_free(storage: str | Path, name: str) -> None:
    """Raise `InputError` if there is a sweep of that name, `StorageFailed` if nothing can be written to `storage`.

    A sweep that failed or was stopped before its first trial ended does not hold its name, unless it is being resumed.
    """
    sweep = sweep_at(storage, name)
    sweep.storage.check()
    sweep.check_idle()
    _check_abandoned(sweep)


def _check_abandoned(sweep: SweepDir) -> None:
    if sweep.name in sweep.storage.list("sweeps") and not _is_abandoned(sweep):
        raise InputError(
            f"a sweep named '{sweep.name}' exists in {sweep.storage.uri}. Continue it ({sweep.command('resume')}), give this "
            f"one another name (--set name=…), or remove {sweep.files.uri}."
        )


def _is_abandoned(sweep: SweepDir) -> bool:
    has_ended_early = sweep.facts().get("state") in ("failed", "stopped") and not sweep.records()
    return has_ended_early and not sweep.files.list("students")  # whose ledger may be lost


def create(storage: str | Path, name: str, spec_yaml: str) -> SweepDir:
    """Make the directory of a new sweep, in place of an abandoned one; raises as `check_free` does.

    A driver calls `check_free` first, and this with the sweep's lease.
    """
    sweep = sweep_at(storage, name)
    sweep.storage.check()
    _check_abandoned(sweep)
    sweep.files.remove("")
    sweep.files.put(SPEC, spec_yaml)
    sweep.update(state="started", **{STARTED_IN: os.path.relpath(Path.cwd(), sweep.storage.writable_path(""))})
    return sweep


def find(storage: str | Path, sweep: str) -> SweepDir:
    """Return the sweep of that name or MLflow run id; `InputError` with the nearest name if there is none.

    A sweep whose files are damaged is found by its name.
    """
    known = all_of(storage)
    for one in known:
        if one.name == sweep:
            return one
    for one in known:
        with suppress(WorkFailed):  # a damaged one is not the one that is looked for
            if one.facts().get("run_id") == sweep:
                return one
    names = [one.name for one in known]
    listed = f"Known: {', '.join(names)}." if names else f"There is none in {storage} yet."
    raise InputError(f"no sweep '{sweep}'.{nearest(sweep, names)} {listed} Another place: --storage.")


def all_of(storage: str | Path) -> list[SweepDir]:
    """Return the sweeps of a storage, by name."""
    homes = [sweep_at(storage, name) for name in open_storage(storage).list("sweeps")]
    return [home for home in homes if home.has_started()]
