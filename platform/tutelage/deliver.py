"""A student found by its name, exported or measured in whichever form it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import (
    answers,
    deployed,
    export,
    intervals,
    measure,
    model_card,
    network,
    opening,
    plugins,
    quantised,
    read_back,
    registry,
    spec,
    store,
)
from tutelage.classroom import Classroom
from tutelage.data import SPLITS, Split
from tutelage.errors import InputError, nearest
from tutelage.files import sha256_of
from tutelage.record import TrialRecord
from tutelage.store import SweepDir
from tutelage.teaching import classroom_of, tracking_uri

CHECKED_EXAMPLES = 512  # of validation
REGISTRY = ("models:/", "runs:/")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A network with weights, under the name it was asked for; with its sweep and trial, where it came from one."""

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
        directory = _downloaded(model, uri or f"sqlite:///{storage.resolve() / 'mlflow.db'}")
        return _with_origin(model, directory, storage)
    if (Path(model) / network.ARCHITECTURE).exists():
        return _with_origin(model, Path(model), storage)
    if Path(model).suffix in (deployed.PROGRAM, deployed.ONNX) and Path(model).exists():
        raise InputError(
            f"{model} holds answers and no layers to export from. Name the directory with its weights, or the sweep."
        )
    name, _, trial = model.partition("/")
    home = store.find(storage, name)
    if not trial:
        chosen = home.selection()
        if chosen is None:
            raise InputError(f"sweep '{name}' has no selected student. Run `tutelage select {name}`, or name {name}/TRIAL.")
        trial = chosen["student"]["trial"]
    known = sorted(directory.name for directory in home.students_dir.iterdir())
    if trial not in known:
        raise InputError(f"sweep '{name}' has no trained student '{trial}'.{nearest(trial, known)}")
    built, architecture = network.read(home.students_dir / trial)
    record = next(record for record in home.records() if record.trial_id == trial)
    return Found(name=f"{home.name}/{trial}", model=built, architecture=architecture, home=home, record=record)


def _downloaded(model: str, uri: str) -> Path:
    """Return the directory with the weights of a registered model."""
    found = registry.download_network(uri, model)
    if found is None:
        raise InputError(
            f"{model} holds no {network.ARCHITECTURE} with {network.WEIGHTS}, which `tutelage select --register` logs. "
            "Only such a model can be exported or measured."
        )
    return found


def _with_origin(name: str, directory: Path, storage: Path) -> Found:
    """Return the network in `directory`, with the trial of the storage that has the very same weights, if there is one."""
    built, architecture = network.read(directory)
    mark = sha256_of(directory / network.WEIGHTS)
    for weights in sorted((storage / "sweeps").glob(f"*/students/*/{network.WEIGHTS}")):
        if weights.stat().st_size == (directory / network.WEIGHTS).stat().st_size and sha256_of(weights) == mark:
            home = SweepDir(weights.parents[2])
            record = next((one for one in home.records() if one.trial_id == weights.parent.name), None)
            return Found(name=name, model=built, architecture=architecture, home=home, record=record)
    return Found(name=name, model=built, architecture=architecture)


def export_model(
    model: str, directory: Path, storage: Path, *, forms: Sequence[str] = export.FLOAT_FORMS, check: bool = False,
    data: spec.Spec | None = None, max_loss: float = quantised.MAX_LOSS, licence: str = model_card.UNKNOWN_LICENCE,
    uri: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Export a student into the new `directory` in the `forms` asked for, whole or not at all; return what was done.

    With `check` every form is read back where tutelage cannot be imported, and compared on real inputs. A quantised form
    that loses more than `max_loss` of the validation accuracy is left out and told. `data` is a spec whose data serve both;
    without it, that of the student's own sweep.
    """
    for form in forms:
        if form not in export.FORMS:
            raise InputError(f"no form '{form}'.{nearest(form, export.FORMS)} Known: {', '.join(export.FORMS)}.")
    export.check_new(directory)
    found = find_model(model, storage, uri)
    needs_data = check or bool(set(forms) & set(export.QUANTISED_FORMS))
    classroom = _classroom_for(found, data) if needs_data else None
    with export.drafted(directory, found.model, found.architecture, forms) as draft:
        variants, differences = [], None
        if classroom and set(forms) & set(export.QUANTISED_FORMS):
            variants = quantised.add(draft, classroom, max_loss)
        export.drop_intermediate(draft)
        if classroom and check:
            differences = read_back.differences(draft, classroom.splits["validation"].seen(slice(CHECKED_EXAMPLES)))
        card = _card(found, draft, licence, variants, differences)
        manifest = export.finish(draft, {**found.about(), "licence": licence}, model_card.text(card), model_card.NAME)
    return {
        "version": 2,
        "directory": str(directory),
        "files": {name: {"form": one.get("form"), "size_bytes": one["size_bytes"]} for name, one in manifest["files"].items()},
        "largest_difference": differences,
        "quantised": [asdict(variant) for variant in variants],
        "kept": [variant.said() for variant in variants if variant.is_written],
        "refused": [f"{variant.said()}: more than --max-loss {max_loss:g}" for variant in variants if not variant.is_written],
    }


def _classroom_for(found: Found, data: spec.Spec | None) -> Classroom:
    if data is None and found.home is None:
        raise InputError(
            f"{found.name} comes from no sweep in the storage, so there are no real inputs for --check and quantised forms. "
            "Give them with --data SPEC, or leave both out."
        )
    classroom = classroom_of(data if data is not None else spec.load(found.home.spec_path))  # type: ignore[union-attr]
    named = found.architecture
    _check_fits(
        found.name, tuple(named["example_shape"]), len(named["class_names"]), named["class_names"], classroom.splits["train"]
    )
    return classroom


def _card(
    found: Found, draft: export.Draft, licence: str, variants: Sequence[quantised.Variant], differences: dict[str, float] | None
) -> model_card.Card:
    home, record, sweep = found.home, found.record, {}
    if home is not None:
        facts, own = home.facts(), spec.load(home.spec_path)
        sweep = {
            "task": plugins.described(own.task), "data": _without_path(own.data), "teacher": facts.get("teacher"),
            "fingerprint": facts.get("fingerprint"),
        }  # fmt: skip
    return model_card.Card(
        name=f"{home.name}/{record.trial_id}" if home and record else found.name, architecture=found.architecture,
        forms=draft.written(), licence=licence, sweep=sweep, selection=found.selection(), differences=differences,
        record={"measures": record.measures, "config": record.config} if record else {},
        variants=[(variant.said(), variant.is_written) for variant in variants],
    )  # fmt: skip


def _without_path(data: plugins.Reference) -> str:
    """Return a data reference in words; where the data lie on this machine is nobody else's business."""
    name, options = plugins.parse_reference(data)
    told = {option: value for option, value in options.items() if option != "path"}
    return plugins.described({name: told} if told else name)


def evaluate_model(model: str, loaded: spec.Spec, split: str, storage: Path, uri: str | None = None) -> dict[str, Any]:
    """Return what a student is worth on a split of the spec's data: accuracy with its 95 % interval, size, latency.

    `model` is as for `find_model`, or an exported program or ONNX file. Its latency is measured alone, as `measure` does.
    """
    if split not in SPLITS:
        raise InputError(f"no split '{split}'.{nearest(split, SPLITS)} Known: {', '.join(SPLITS)}.")
    asked = _deployed(model, storage, uri or tracking_uri(loaded))
    classroom = classroom_of(loaded)
    _check_fits(model, asked.example_shape, asked.num_classes, asked.class_names, classroom.splits["train"])
    if split == "test":
        _record_look(model, storage, classroom)
    examples, task = classroom.read(split), classroom.built_task
    correct = task.correct(answers.logits_of(asked.module, task, examples), examples.labels)
    right, n = int(correct.sum()), correct.numel()
    return {
        "version": 2, "model": model, "form": asked.form, "split": split, "examples": n,
        task.primary: right / n, "interval": list(intervals.wilson_interval(right, n)),
        "size_bytes": asked.size_bytes, "file_bytes": asked.file_bytes,
        **measure.latencies_ms({"student": asked.module}, examples.seen(slice(1)))["student"],
    }  # fmt: skip


def _record_look(model: str, storage: Path, classroom: Classroom) -> None:
    """Put on record that the test split is opened, where it is that of the sweep that the model is named by."""
    name, _, trial = model.partition("/")
    home = SweepDir(storage / "sweeps" / name)
    if not model.startswith(REGISTRY) and not Path(model).exists() and home.facts()["fingerprint"] == classroom.fingerprint:
        selected = home.selection()
        opening.record_look(home, trial or (selected["student"]["trial"] if selected else ""), "evaluate")


def _deployed(model: str, storage: Path, uri: str) -> deployed.Deployed:
    if model.startswith(REGISTRY):
        return deployed.read(_downloaded(model, uri))
    if Path(model).exists():
        return deployed.read(Path(model))
    if Path(model).suffix in (deployed.PROGRAM, deployed.ONNX):
        raise InputError(f"{model}: there is no such file.")
    found = find_model(model, storage)
    assert found.home is not None and found.record is not None
    return deployed.read(found.home.students_dir / found.record.trial_id)


def _check_fits(model: str, shape: tuple[int, ...], num_classes: int, class_names: Sequence[str], data: Split) -> None:
    """Raise `InputError` with both sides where a model takes other examples than the data's, or gives other classes."""
    if shape != data.example_shape:
        raise InputError(
            f"{model} takes examples of shape {shape}, the data has {data.example_shape}. Give the data it is for."
        )
    if num_classes != data.num_classes:
        raise InputError(
            f"{model} answers with {num_classes} classes, the data has {data.num_classes}. Give the data it is for."
        )
    if class_names and tuple(class_names) != data.class_names:
        own, other = next((a, b) for a, b in zip(class_names, data.class_names, strict=True) if a != b)
        raise InputError(
            f"{model} has other classes than the data, or another order: '{own}' stands where the data has '{other}'. "
            "Give the data it is for."
        )
