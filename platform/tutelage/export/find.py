"""Models found by name: a student of a sweep, an exported directory, a registered version."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.errors import InputError, nearest
from tutelage.export import load, registry
from tutelage.files import sha256_of
from tutelage.networks import checkpoint, runtime
from tutelage.networks.trust import EVERYTHING, PACKAGE_ONLY
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redacted
from tutelage.spec.loading import default_tracking_uri

REGISTRY = ("models:/", "runs:/")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network with weights under its requested name, with its sweep and trial if it comes from one.

    `int8_file` is the quantised file of an int8 candidate, whose float network `model` is.
    """

    name: str
    model: nn.Module
    architecture: dict[str, Any]
    home: SweepDir | None = None
    record: TrialRecord | None = None
    int8_file: Path | None = None

    def about(self) -> dict[str, Any]:
        """Return the origin of the network, for the manifest."""
        if self.home is None or self.record is None:
            return {"source": self.name}
        return {
            "source": self.name, "sweep": self.home.name, "trial": self.record.trial_id,
            "measures": self.record.measures, "config": redacted(self.record.config),
        }  # fmt: skip

    def selection(self) -> dict[str, Any] | None:
        """Return the document of `select`, if this is the student that was selected last."""
        chosen = self.home.selection() if self.home else None
        return chosen if chosen and self.record and chosen["student"]["trial"] == self.record.trial_id else None


def find_model(model: str, storage: str | Path, uri: str | None = None, trusted: Collection[str] = PACKAGE_ONLY) -> Found:
    """Return the network that `model` names: SWEEP (its selected student), SWEEP/TRIAL, a directory, or models:/NAME@ALIAS.

    `uri` is where MLflow is, by default the storage's SQLite. Of the code that the network's files name, only `trusted` and
    what its sweep's spec names is run (see `networks.trust`). Raises `InputError` for other code, and for a model that does not
    exist.
    """
    if model.startswith(REGISTRY):
        directory = downloaded(model, uri or default_tracking_uri(storage))
        return _with_origin(model, directory, storage, trusted)
    if (Path(model) / checkpoint.ARCHITECTURE).exists():
        return _with_origin(model, Path(model), storage, trusted)
    if Path(model).suffix in (load.PROGRAM, load.ONNX) and Path(model).exists():
        raise InputError(
            f"{model} holds a traced graph, from which no other form can be made. Name its directory of weights, or the sweep."
        )
    name, _, trial = model.partition("/")
    home = sweeps.find(storage, name)
    if not trial:
        chosen = home.selection()
        if chosen is None:
            raise InputError(f"sweep '{name}' has no selected student. Run `{home.command('select')}`, or name {name}/TRIAL.")
        trial = chosen["student"]["trial"]
    known = home.students.list()
    if several := [one for one in known if one.startswith(f"{trial}.")]:
        raise InputError(f"{name}/{trial} gave several candidates: {', '.join(several)}. Name one of them.")
    if trial not in known:
        raise InputError(f"sweep '{name}' has no trained student '{trial}'.{nearest(trial, known)}")
    built, architecture = checkpoint.read(home.student_path(trial), trusted_by(home, trusted))
    record = next(record for record in home.records() if record.trial_id == trial)
    file = runtime.int8_file(home.student_path(trial))
    return Found(
        name=f"{home.name}/{trial}", model=built, architecture=architecture, home=home, record=record, int8_file=file
    )  # fmt: skip


def downloaded(model: str, uri: str) -> Path:
    """Return the directory with the weights of a registered model."""
    found = registry.download_network(uri, model)
    if found is None:
        raise InputError(
            f"{model} holds no {checkpoint.ARCHITECTURE} with {checkpoint.WEIGHTS}, which `tutelage select --register` logs. "
            "Only such a model can be exported or measured."
        )
    return found


def trusted_by(home: SweepDir | None, trusted: Collection[str]) -> Collection[str]:
    """Return `trusted` with the code that the spec of a sweep names."""
    return trusted if home is None or trusted is EVERYTHING else {*trusted, *home.spec().own_code()}


def _with_origin(name: str, directory: Path, storage: str | Path, trusted: Collection[str]) -> Found:
    """Return the network in `directory`, with the trial of the storage that has the same weights, if there is one."""
    home, trial = _same_student(directory / checkpoint.WEIGHTS, storage) or (None, "")
    built, architecture = checkpoint.read(directory, trusted_by(home, trusted))
    record = next((one for one in home.records() if one.trial_id == trial), None) if home else None
    return Found(
        name=name, model=built, architecture=architecture, home=home, record=record, int8_file=runtime.int8_file(directory)
    )  # fmt: skip


def _same_student(weights: Path, storage: str | Path) -> tuple[SweepDir, str] | None:
    """Return the sweep and the name of a student of the storage whose weights are equal to those in `weights`, if any."""
    if not weights.is_file():
        return None
    size, mark = weights.stat().st_size, sha256_of(weights)
    for home in sweeps.all_of(storage):
        for name in home.students.list():
            own = home.students.local_path(f"{name}/{checkpoint.WEIGHTS}")
            if own.is_file() and own.stat().st_size == size and sha256_of(own) == mark:
                return home, name
    return None
