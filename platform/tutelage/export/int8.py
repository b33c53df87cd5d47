"""int8 variants of a student: made, measured on validation beside the original, and kept only where they lose little."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch

from tutelage import intervals
from tutelage.export import bundle, load, onnx_format
from tutelage.measure import Measure
from tutelage.networks import timing
from tutelage.training import inference
from tutelage.training.context import TrainingContext

CALIBRATION_EXAMPLES = 256


MAX_LOSS = 0.01


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A quantised form beside the original: the primary measure on validation, what it loses of it, size, latency.

    `loss` is paired over the same examples, positive where the variant is worse, with its 95 % interval; `size_bytes`
    is that of the weights; the latencies were measured in turns. `float_latency_ms` is the unquantised ONNX file's.
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
    words: str = ""


def _words(variant: Variant, primary: Measure) -> str:
    """Return in words what a variant loses and saves."""
    loss, low, high = (primary.difference_number(one).lstrip("+") for one in (variant.loss, *variant.loss_interval))
    return (
        f"{variant.form} loses {loss} {primary.difference_unit} ({low} to {high}) of its {primary.label} on validation, has "
        f"{variant.size_bytes:,.0f} of {variant.float_size_bytes:,.0f} bytes and takes {variant.latency_ms:.3g} ms in place of "
        f"{variant.float_latency_ms:.3g}"
    )


def add(draft: bundle.Draft, context: TrainingContext, max_loss: float) -> list[Variant]:
    """Write the draft's quantised forms, measure them, and take away those that lose more than `max_loss`.

    Ranges of activations come from training examples, the primary measure from all of validation. The draft must have its float
    ONNX file.
    """
    forms = [form for form in bundle.QUANTISED_FORMS if form in draft.forms]
    train, validation, task = context.splits["train"], context.splits["validation"], context.built_task
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))[:CALIBRATION_EXAMPLES]
    for form in forms:
        onnx_format.QUANTISERS[form](draft.path("onnx"), draft.path(form), train.take(chosen).arguments[0])
    read = {form: load.read(draft.path(form)) for form in ("onnx", *forms)}
    primary = task.measures[0]
    own = {form: inference.contributions_of(one.module, task, validation)[primary.name] for form, one in read.items()}
    latency = timing.latencies_ms({form: one.module for form, one in read.items()}, validation.take(slice(1)).arguments)
    found = []
    for form in forms:
        loss, low, high = intervals.paired_gain(primary, own["onnx"], own[form], context.seed)
        variant = Variant(
            form=form, is_written=loss <= max_loss, value=primary.aggregate(own[form]),
            float_value=primary.aggregate(own["onnx"]), loss=loss, loss_interval=(low, high),
            size_bytes=read[form].size_bytes, float_size_bytes=read["onnx"].size_bytes,
            latency_ms=latency[form]["latency_ms"], float_latency_ms=latency["onnx"]["latency_ms"],
        )  # fmt: skip
        variant = replace(variant, words=_words(variant, primary))
        found.append(variant)
        if variant.is_written:
            draft.details[form] = {"measured": asdict(variant), "calibration_examples": len(chosen)}
        else:
            draft.path(form).unlink()
    return found
