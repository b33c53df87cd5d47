"""A model by its name: a student of a sweep, an exported directory, a registered version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.errors import InputError, nearest
from tutelage.export import load, registry
from tutelage.files import sha256_of
from tutelage.networks import checkpoint
from tutelage.records import sweep_dir
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.spec.loading import default_tracking_uri

REGISTRY = ("models:/", "runs:/")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network with weights under its requested name, with its sweep and trial if it comes from one."""

    name: str
    model: nn.Module
    architecture: dict[str, Any]
    home: SweepDir | None = None
    record: TrialRecord | None = None

    def about(self) -> dict[str, Any]:
        """Return where it came from, for the manifest."""
        if self.home is None or self.record is None:
            return {"source": self.name}
        return {
            "source": self.name, "sweep": self.home.name, "trial": self.record.trial_id,
            "measures": self.record.measures, "config": self.record.config,
        }  # fmt: skip

    def selection(self) -> dict[str, Any] | None:
        """Return what `select` found of it, if it is the student that was selected last."""
        chosen = self.home.selection() if self.home else None
        return chosen if chosen and self.record and chosen["student"]["trial"] == self.record.trial_id else None


def find_model(model: str, storage: Path, uri: str | None = None) -> Found:
    """Return the network that `model` names: SWEEP (its selected student), SWEEP/TRIAL, a directory, or models:/NAME@ALIAS.

    `uri` is where MLflow is, by default the storage's SQLite. Raises `InputError` for what is not there.
    """
    if model.startswith(REGISTRY):
        directory = downloaded(model, uri or default_tracking_uri(storage))
        return _with_origin(model, directory, storage)
    if (Path(model) / checkpoint.ARCHITECTURE).exists():
        return _with_origin(model, Path(model), storage)
    if Path(model).suffix in (load.PROGRAM, load.ONNX) and Path(model).exists():
        raise InputError(
            f"{model} holds a traced graph, which other forms cannot be made from. Name its directory of weights, or the sweep."
        )
    name, _, trial = model.partition("/")
    home = sweep_dir.find(storage, name)
    if not trial:
        chosen = home.selection()
        if chosen is None:
            raise InputError(f"sweep '{name}' has no selected student. Run `tutelage select {name}`, or name {name}/TRIAL.")
        trial = chosen["student"]["trial"]
    known = home.files.list("students")
    if several := [one for one in known if one.startswith(f"{trial}.")]:
        raise InputError(f"{name}/{trial} gave several candidates: {', '.join(several)}. Name one of them.")
    if trial not in known:
        raise InputError(f"sweep '{name}' has no trained student '{trial}'.{nearest(trial, known)}")
    built, architecture = checkpoint.read(home.students_dir / trial)
    record = next(record for record in home.records() if record.trial_id == trial)
    return Found(name=f"{home.name}/{trial}", model=built, architecture=architecture, home=home, record=record)


def downloaded(model: str, uri: str) -> Path:
    """Return the directory with the weights of a registered model."""
    found = registry.download_network(uri, model)
    if found is None:
        raise InputError(
            f"{model} holds no {checkpoint.ARCHITECTURE} with {checkpoint.WEIGHTS}, which `tutelage select --register` logs. "
            "Only such a model can be exported or measured."
        )
    return found


def _with_origin(name: str, directory: Path, storage: Path) -> Found:
    """Return the network in `directory`, with the trial of the storage that has the very same weights, if there is one."""
    built, architecture = checkpoint.read(directory)
    mark = sha256_of(directory / checkpoint.WEIGHTS)
    for weights in sorted((storage / "sweeps").glob(f"*/students/*/{checkpoint.WEIGHTS}")):
        if weights.stat().st_size == (directory / checkpoint.WEIGHTS).stat().st_size and sha256_of(weights) == mark:
            home = SweepDir(weights.parents[2])
            record = next((one for one in home.records() if one.trial_id == weights.parent.name), None)
            return Found(name=name, model=built, architecture=architecture, home=home, record=record)
    return Found(name=name, model=built, architecture=architecture)
