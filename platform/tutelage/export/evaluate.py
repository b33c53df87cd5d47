"""A model in any of its forms, evaluated on a split."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tutelage import intervals
from tutelage.data import SPLITS
from tutelage.errors import InputError, WorkFailed, nearest
from tutelage.export import load, own_programs
from tutelage.export.find import REGISTRY, downloaded, find_model, trusted_by
from tutelage.export.fit import check_fits
from tutelage.intervals import Contributions
from tutelage.measure import Measure
from tutelage.networks import runtime, timing
from tutelage.networks.trust import EVERYTHING
from tutelage.records import sweep_dir, sweeps
from tutelage.spec import spec
from tutelage.spec.loading import tracking_uri
from tutelage.training import inference
from tutelage.training.context import TrainingContext, context_of

UNKNOWN_INPUTS = "the file does not say how its inputs are normalised; the data's own mean and deviation are used"


def evaluate_model(
    model: str, loaded: spec.Spec, split: str, storage: str | Path, uri: str | None = None, *, trust: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Return a student's measures on a split of the spec's data with 95 % intervals, its size and latency.

    `model` is as for `find_model`, or an exported program or ONNX file. Examples are normalised by its own mean and deviation,
    and `notes` say where the data seem to be in another unit. Its latency is measured alone, as `measure` does. Of the code
    that its files name, only what the spec names is run, and a program only if it was exported with this storage; with `trust`
    any.
    """
    if split not in SPLITS:
        raise InputError(f"no split '{split}'.{nearest(split, SPLITS)} Known: {', '.join(SPLITS)}.")
    trusted = EVERYTHING if trust else loaded.own_code()
    student = _deployed(model, storage, uri or tracking_uri(loaded), trusted)
    context = context_of(loaded, student.inputs)
    check_fits(model, student.signature, context.signature)
    if split == "test":
        _record_test_evaluation(model, storage, context)
    examples, task = context.read(split), context.built_task
    contributions = inference.contributions_of(student.module, task, examples, context.measures)
    return {
        "version": 3, "model": model, "form": student.form, "split": split, "examples": len(examples),
        "notes": [*([] if student.inputs else [UNKNOWN_INPUTS]), *examples.notes],
        **_measured((*task.measures, *context.measures), contributions, context.seed),
        "size_bytes": student.size_bytes, "file_bytes": student.file_bytes,
        **_latency(student, examples.take(slice(1)).arguments),
    }  # fmt: skip


def _latency(student: load.Deployed, arguments: tuple[Tensor, ...]) -> dict[str, Any]:
    """Return the latency of one example on one CPU thread, of weights in onnxruntime, and what ran the network.

    A network that cannot be written as ONNX is run by PyTorch.
    """
    module, by = student.module, "torch" if student.form == "program" else "onnxruntime"
    if student.form == "weights":
        try:
            module = runtime.opened(runtime.onnx_bytes(module, student.signature))
        except WorkFailed:
            by = "torch"
    return {**timing.latencies_ms({"student": module}, arguments)["student"], "latency_runtime": by}


def _measured(measures: Sequence[Measure], contributions: Mapping[str, Contributions], seed: int) -> dict[str, Any]:
    """Return every measure by name, the 95 % interval of the primary one, the first, and those of all under `intervals`."""
    own = [measure for measure in measures if measure.name in contributions]
    values = {measure.name: measure.aggregate(contributions[measure.name]) for measure in own}
    found = {measure.name: intervals.interval(measure, contributions[measure.name], seed) for measure in own}
    ends = {name: list(ends) if ends else None for name, ends in found.items()}
    return {**values, "interval": ends[measures[0].name], "intervals": ends}


def _record_test_evaluation(model: str, storage: str | Path, context: TrainingContext) -> None:
    """Record the evaluation on the test split, if the model is named by its sweep and the data are the sweep's."""
    name, _, trial = model.partition("/")
    home = sweeps.sweep_at(storage, name)
    if not model.startswith(REGISTRY) and not Path(model).exists() and home.facts()["fingerprint"] == context.fingerprint:
        selected = home.selection()
        sweep_dir.record_test_evaluation(home, trial or (selected["student"]["trial"] if selected else ""), "evaluate")


def _deployed(model: str, storage: str | Path, uri: str, trusted: Collection[str]) -> load.Deployed:
    if model.startswith(REGISTRY):
        return load.read(downloaded(model, uri), trusted)
    if Path(model).exists():
        return load.read(Path(model), trusted, own_programs.recorded(storage))
    if Path(model).suffix in (load.PROGRAM, load.ONNX):
        raise InputError(f"{model}: there is no such file.")
    found = find_model(model, storage, trusted=trusted)
    assert found.home is not None and found.record is not None
    return load.read(found.home.student_path(found.record.trial_id), trusted_by(found.home, trusted))
