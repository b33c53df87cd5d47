"""Where a sweep lives on disk: `<storage>/sweeps/<name>/`, with its spec, trials, students and results."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

from tutelage import plugins
from tutelage.errors import InputError, UnreachableError, nearest
from tutelage.files import write_atomically, write_json
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records.ledger import Ledger
from tutelage.records.reruns import Reruns
from tutelage.records.trial import OPEN, TrialRecord


def test_evaluations(home: SweepDir) -> dict[str, int]:
    """Return how often a sweep's test split has been opened, and for how many different students."""
    openings = home.facts().get("test_evaluations", [])
    return {"openings": len(openings), "students": len({one["subjects"]["student"] for one in openings})}


def record_test_evaluation(home: SweepDir, trial: str, by: str) -> None:
    """Put on record that a trial's student was measured on the test split outside of a selection."""
    opening = {"by": by, "subjects": {"student": trial}, "unix_time_s": time.time()}
    home.update(test_evaluations=[*home.facts().get("test_evaluations", []), opening])


@dataclass(frozen=True)
class SweepDir:
    """The files of one sweep."""

    root: Path

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.root.name

    @property
    def storage(self) -> Path:
        """The storage that the sweep lies in."""
        return self.root.parent.parent

    @property
    def spec_path(self) -> Path:
        """The spec as resolved, YAML."""
        return self.root / "spec.yaml"

    @property
    def students_dir(self) -> Path:
        """One directory a trained student, named by its trial."""
        return self.root / "students"

    @property
    def ledger(self) -> Ledger:
        """The trials' records."""
        return Ledger(self.root / "trials.jsonl")

    @property
    def reruns(self) -> Reruns:
        """The trainings of its students with fresh seeds, and without their teacher."""
        return Reruns(self.root / "reruns.jsonl")

    @property
    def spool_path(self) -> Path:
        """What MLflow has not taken yet; not there once it has all."""
        return self.root / "tracking.spool"

    def trials(self) -> list[TrialRecord]:
        """Return the trials that have ended, in order of suggestion."""
        return [record for record in self.ledger.read() if record.state not in OPEN]

    def records(self) -> list[TrialRecord]:
        """Return one record for each candidate of the ended trials, and one for a trial that gave none."""
        return [one for trial in self.trials() for one in trial.per_candidate()]

    def add_measures(self, more: Mapping[str, Mapping[str, float]]) -> None:
        """Put further measures on record, given by the names of candidates."""
        for trial in self.trials():
            if any(one.trial_id in more for one in trial.per_candidate()):
                self.ledger.append(trial.with_measures(more))

    def pending(self) -> list[TrialRecord]:
        """Return the trials that were handed out and have not ended, in order of suggestion."""
        return [record for record in self.ledger.read() if record.state == "running"]

    def paused(self) -> list[TrialRecord]:
        """Return the trials that wait at a rung, in order of suggestion."""
        return [record for record in self.ledger.read() if record.state == "paused"]

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Be the sweep's one driver for the time of a block; `InputError` names the one there is.

        The lock is the operating system's (`flock`): it is gone with its process, whatever ended that.
        """
        with self._lock_path.open("a+", encoding="utf-8") as file:
            if not _taken(file, fcntl.LOCK_EX):
                self._refuse(file)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def check_idle(self) -> None:
        """Raise as `driven` does if a driver is at work on the sweep."""
        if self.is_driven():
            with self._lock_path.open(encoding="utf-8") as file:
                self._refuse(file)

    def _refuse(self, file: TextIO) -> NoReturn:
        file.seek(0)
        raise InputError(
            f"sweep '{self.name}' is being driven by {file.read().strip() or 'another process'}. Wait for it, or stop it: two "
            "drivers would train every student twice."
        )

    def is_driven(self) -> bool:
        """Return whether a driver is at work on the sweep."""
        if not self._lock_path.exists():
            return False
        with self._lock_path.open("a", encoding="utf-8") as file:
            return not _taken(file, fcntl.LOCK_SH)

    @property
    def _lock_path(self) -> Path:
        return self.root / "driver.lock"

    def facts(self) -> dict[str, Any]:
        """Return what is known of the sweep as a whole: state, MLflow run, teacher, objectives, timings."""
        facts: dict[str, Any] = json.loads((self.root / "sweep.json").read_text(encoding="utf-8"))
        return facts

    @property
    def selection_path(self) -> Path:
        """What `select` found last, JSON."""
        return self.root / "selection.json"

    def selection(self) -> dict[str, Any] | None:
        """Return what `select` found last; None before the first time."""
        if not self.selection_path.exists():
            return None
        document: dict[str, Any] = json.loads(self.selection_path.read_text(encoding="utf-8"))
        return document

    def update(self, **facts: Any) -> None:
        """Merge `facts` into what is known, atomically."""
        path = self.root / "sweep.json"
        known = self.facts() if path.exists() else {"version": 1}
        write_json(path, {**known, **facts})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives with their reference points as fixed when the sweep began."""
        measures = self.measures()
        return tuple(Objective.from_document(fields, measures) for fields in self.facts()["objectives"])

    def measures(self) -> dict[str, Measure]:
        """Return what the sweep measures of its students by name, the task's primary measure first."""
        return measures_in(self.facts())

    def primary(self) -> Measure:
        """Return the primary measure of the sweep's task."""
        return next(iter(self.measures().values()))


def measures_in(facts: Mapping[str, Any]) -> dict[str, Measure]:
    """Return the measures that a sweep's facts hold by name, the task's primary measure first; ours are there always."""
    own = [Measure.from_document(document) for document in facts.get("measures", ())]
    return {measure.name: measure for measure in [*own, *map(plugins.measure, plugins.names("measures"))]}


def _taken(file: TextIO, kind: int) -> bool:
    """Return whether the lock was there to be taken; one that somebody holds to have a look is waited for."""
    for pause_s in (0.0, 0.05, 0.2):
        time.sleep(pause_s)
        with suppress(OSError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
    return False


def check_free(storage: Path, name: str) -> None:
    """Raise `InputError` if a sweep of that name is there, `UnreachableError` if nothing can be written to `storage`.

    A sweep that failed or was stopped before its first trial ended does not hold its name.
    """
    check_writable(storage)
    sweep = SweepDir(storage / "sweeps" / name)
    if sweep.root.exists() and not _is_abandoned(sweep):
        raise InputError(
            f"a sweep named '{name}' exists in {storage}. Go on with it (tutelage resume {name}), give this one another name "
            f"(--set name=…), or remove {sweep.root}."
        )


def _is_abandoned(sweep: SweepDir) -> bool:
    known = (sweep.root / "sweep.json").exists()
    return known and sweep.facts()["state"] in ("failed", "stopped") and not sweep.records()


def create(storage: Path, name: str, spec_yaml: str) -> SweepDir:
    """Make the directory of a new sweep, in place of an abandoned one; raises as `check_free` does."""
    check_free(storage, name)
    sweep = SweepDir(storage / "sweeps" / name)
    shutil.rmtree(sweep.root, ignore_errors=True)
    try:
        sweep.students_dir.mkdir(parents=True)
        write_atomically(sweep.spec_path, spec_yaml)
    except OSError as error:
        raise UnreachableError(f"storage {storage} cannot be written: {error.strerror}. Set `storage`.") from error
    sweep.update(state="started")
    return sweep


def find(storage: Path, sweep: str) -> SweepDir:
    """Return the sweep of that name or MLflow run id; `InputError` with the nearest name if there is none."""
    home = storage / "sweeps"
    known = sorted(p.name for p in home.iterdir() if (p / "sweep.json").exists()) if home.is_dir() else []
    if sweep in known:
        return SweepDir(home / sweep)
    for name in known:
        if SweepDir(home / name).facts().get("run_id") == sweep:
            return SweepDir(home / name)
    listed = f"Known: {', '.join(known)}." if known else f"There is none in {storage} yet."
    raise InputError(f"no sweep '{sweep}'.{nearest(sweep, known)} {listed} Another place: --storage.")


def check_writable(storage: Path) -> None:
    """Raise `UnreachableError` if nothing can be written below `storage`; leaves nothing behind but the directory."""
    probe = storage / f".probe-{os.getpid()}"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UnreachableError(f"storage {storage} cannot be written: {error.strerror}. Set `storage`.") from error
