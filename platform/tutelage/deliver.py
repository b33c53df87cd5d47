"""A student found by its name, exported or measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from tutelage import answers, export, intervals, network, spec, store
from tutelage.data import SPLITS
from tutelage.errors import InputError, nearest
from tutelage.teaching import classroom_of


def find_model(model: str, storage: Path) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """Return (network, architecture, about) of SWEEP (its selected student), SWEEP/TRIAL, or a network's directory."""
    if (Path(model) / network.ARCHITECTURE).exists():
        return *network.read(Path(model)), {"source": model}
    name, _, trial = model.partition("/")
    home = store.find(storage, name)
    if not trial:
        path = home.root / "selection.json"
        if not path.exists():
            raise InputError(f"sweep '{name}' has no selected student. Run `tutelage select {name}`, or name {name}/TRIAL.")
        trial = json.loads(path.read_text(encoding="utf-8"))["student"]["trial"]
    known = sorted(directory.name for directory in home.students_dir.iterdir())
    if trial not in known:
        raise InputError(f"sweep '{name}' has no trained student '{trial}'.{nearest(trial, known)}")
    record = next(r for r in home.records() if r.trial_id == trial)
    about = {"sweep": name, "trial": trial, "measures": record.measures, "config": record.config}
    return *network.read(home.students_dir / trial), about


def export_model(model: str, directory: Path, storage: Path, *, check: bool) -> dict[str, Any]:
    """Export a student into `directory`; with `check`, read every form back and compare it on the validation split."""
    built, architecture, about = find_model(model, storage)
    manifest = export.export(built, architecture, directory, about)
    document: dict[str, Any] = {"version": 1, "directory": str(directory), "size_bytes": manifest["size_bytes"]}
    if check:
        if "sweep" not in about:
            raise InputError("--check needs real inputs: name the student by its sweep, as SWEEP or SWEEP/TRIAL.")
        loaded = spec.load(store.find(storage, about["sweep"]).spec_path)
        inputs = classroom_of(loaded).splits["validation"].seen(slice(None))
        document["largest_difference"] = export.check(directory, built, inputs)
    return document


def evaluate_model(model: str, loaded: spec.Spec, split: str, storage: Path) -> dict[str, Any]:
    """Return a student's accuracy on a split of the spec's data, with its 95 % interval."""
    if split not in SPLITS:
        raise InputError(f"no split '{split}'.{nearest(split, SPLITS)} Known: {', '.join(SPLITS)}.")
    built, architecture, _ = find_model(model, storage)
    classroom = classroom_of(loaded)
    examples = classroom.read(split)
    if list(examples.class_names) != architecture["class_names"]:
        raise InputError(f"the model has {len(architecture['class_names'])} classes, the data {examples.num_classes}.")
    task = classroom.built_task
    correct = task.correct(answers.logits_of(built, task, examples), examples.labels)
    right, n = int(correct.sum()), correct.numel()
    return {
        "version": 1, "model": model, "split": split, "examples": n,
        task.primary: right / n, "interval": list(intervals.wilson_interval(right, n)),
    }  # fmt: skip
