"""int8 variants of a student: written, compared with the original on validation, and removed if their loss is too large."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace

from tutelage import intervals
from tutelage.export import bundle, load
from tutelage.export.forms import QUANTISED_FORMS
from tutelage.measure import Measure
from tutelage.measures.calibration_error import MEASURE as CALIBRATION_ERROR
from tutelage.networks import onnx_int8, timing
from tutelage.training import inference
from tutelage.training.context import TrainingContext
from tutelage.training.int8 import CALIBRATION_EXAMPLES, calibration

MAX_LOSS = 0.01


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A quantised form beside the original: the primary measure on validation, its loss, size and latency.

    `loss` is paired over the same examples, positive where the variant is worse, with its 95 % interval; `size_bytes`
    is that of the weights; the latencies were measured in turn. Values named `float_` are those of the unquantised ONNX file.
    `float_weights` are the operators whose weights onnxruntime could not quantise.
    """

    form: str
    is_written: bool
    value: float
    float_value: float
    loss: float
    loss_interval: tuple[float, float]
    size_bytes: float
    float_size_bytes: float
    latency_ms: float
    float_latency_ms: float
    latency_p90_ms: float
    float_latency_p90_ms: float
    calibration_error: float | None
    float_calibration_error: float | None
    float_weights: str
    words: str = ""


def _words(variant: Variant, primary: Measure) -> str:
    """Return the loss and the savings of a variant in words."""
    loss, low, high = (primary.difference_number(one).lstrip("+") for one in (variant.loss, *variant.loss_interval))
    return (
        f"{variant.form} loses {loss} {primary.difference_unit} ({low} to {high}) of its {primary.label} on validation, has "
        f"{variant.size_bytes:,.0f} of {variant.float_size_bytes:,.0f} bytes and takes {variant.latency_ms:.3g} ms in place of "
        f"{variant.float_latency_ms:.3g}{_calibration(variant)}"
        f"{f'; {variant.float_weights} keep float weights' if variant.float_weights else ''}"
    )


def _calibration(variant: Variant) -> str:
    if variant.calibration_error is None or variant.float_calibration_error is None:
        return ""
    own, before = (CALIBRATION_ERROR.text(one) for one in (variant.calibration_error, variant.float_calibration_error))
    return f"; its {CALIBRATION_ERROR.label} is {own} in place of {before}"


def _write(draft: bundle.Draft, form: str, context: TrainingContext) -> None:
    """Write a quantised form: for an int8 candidate its measured file, otherwise a file made from the float ONNX file."""
    if draft.int8_file and form == "onnx-int8":
        shutil.copyfile(draft.int8_file, draft.path(form))
    else:
        onnx_int8.QUANTISERS[form](draft.path("onnx"), draft.path(form), calibration(context))


def add(draft: bundle.Draft, context: TrainingContext, max_loss: float) -> list[Variant]:
    """Write the draft's quantised forms, measure them, and remove those that lose more than `max_loss`.

    Ranges of activations come from training examples, the primary measure from all of validation. The draft must have its float
    ONNX file.
    """
    forms = [form for form in QUANTISED_FORMS if form in draft.forms]
    validation, task = context.splits["validation"], context.built_task
    for form in forms:
        _write(draft, form, context)
    read = {form: load.read(draft.path(form)) for form in ("onnx", *forms)}
    primary = task.measures[0]
    every = {form: inference.contributions_of(one.module, task, validation, (CALIBRATION_ERROR,)) for form, one in read.items()}
    own = {form: found[primary.name] for form, found in every.items()}
    errors = {form: _error_in(found) for form, found in every.items()}
    latency = timing.latencies_ms({form: one.module for form, one in read.items()}, validation.take(slice(1)).arguments)
    found = []
    for form in forms:
        loss, low, high = intervals.paired_gain(primary, own["onnx"], own[form], context.seed)
        variant = Variant(
            form=form, is_written=loss <= max_loss, value=primary.aggregate(own[form]),
            float_value=primary.aggregate(own["onnx"]), loss=loss, loss_interval=(low, high),
            size_bytes=read[form].size_bytes, float_size_bytes=read["onnx"].size_bytes,
            latency_ms=latency[form]["latency_ms"], float_latency_ms=latency["onnx"]["latency_ms"],
            latency_p90_ms=latency[form]["latency_p90_ms"], float_latency_p90_ms=latency["onnx"]["latency_p90_ms"],
            calibration_error=errors[form], float_calibration_error=errors["onnx"],
            float_weights=onnx_int8.float_weights(draft.path(form)),
        )  # fmt: skip
        variant = replace(variant, words=_words(variant, primary))
        found.append(variant)
        if variant.is_written:
            draft.details[form] = {"measured": asdict(variant), "calibration_examples": CALIBRATION_EXAMPLES}
        else:
            draft.path(form).unlink()
    return found


def _error_in(found: inference.Contributions) -> float | None:
    """Return the calibration error, None for a task without one."""
    contributions = found.get(CALIBRATION_ERROR.name)
    return None if contributions is None else CALIBRATION_ERROR.aggregate(contributions)
