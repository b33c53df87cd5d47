"""A model in any of its forms, evaluated on a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage import intervals
from tutelage.data import SPLITS
from tutelage.errors import InputError, nearest
from tutelage.export import load
from tutelage.export.export import _check_fits
from tutelage.export.find import REGISTRY, _downloaded, find_model
from tutelage.networks import timing
from tutelage.records import sweep_dir
from tutelage.records.sweep_dir import SweepDir
from tutelage.spec import loading
from tutelage.spec.loading import tracking_uri
from tutelage.training import inference
from tutelage.training.context import TrainingContext, context_of


def evaluate_model(model: str, loaded: loading.Spec, split: str, storage: Path, uri: str | None = None) -> dict[str, Any]:
    """Return what a student is worth on a split of the spec's data: accuracy with its 95 % interval, size, latency.

    `model` is as for `find_model`, or an exported program or ONNX file. Its latency is measured alone, as `measure` does.
    """
    if split not in SPLITS:
        raise InputError(f"no split '{split}'.{nearest(split, SPLITS)} Known: {', '.join(SPLITS)}.")
    asked = _deployed(model, storage, uri or tracking_uri(loaded))
    context = context_of(loaded)
    _check_fits(model, asked.example_shape, asked.num_classes, asked.class_names, context.signature)
    if split == "test":
        _record_test_evaluation(model, storage, context)
    examples, task = context.read(split), context.built_task
    correct = inference.contributions_of(asked.module, task, examples)[task.measures[0].name][:, 0] > 0.5
    right, n = int(correct.sum()), len(correct)
    return {
        "version": 2, "model": model, "form": asked.form, "split": split, "examples": n,
        task.measures[0].name: right / n, "interval": list(intervals.wilson_interval(right, n)),
        "size_bytes": asked.size_bytes, "file_bytes": asked.file_bytes,
        **timing.latencies_ms({"student": asked.module}, examples.take(slice(1)).arguments)["student"],
    }  # fmt: skip


def _record_test_evaluation(model: str, storage: Path, context: TrainingContext) -> None:
    """Put on record that the test split is opened, where it is that of the sweep that the model is named by."""
    name, _, trial = model.partition("/")
    home = SweepDir(storage / "sweeps" / name)
    if not model.startswith(REGISTRY) and not Path(model).exists() and home.facts()["fingerprint"] == context.fingerprint:
        selected = home.selection()
        sweep_dir.record_test_evaluation(home, trial or (selected["student"]["trial"] if selected else ""), "evaluate")


def _deployed(model: str, storage: Path, uri: str) -> load.Deployed:
    if model.startswith(REGISTRY):
        return load.read(_downloaded(model, uri))
    if Path(model).exists():
        return load.read(Path(model))
    if Path(model).suffix in (load.PROGRAM, load.ONNX):
        raise InputError(f"{model}: there is no such file.")
    found = find_model(model, storage)
    assert found.home is not None and found.record is not None
    return load.read(found.home.students_dir / found.record.trial_id)
