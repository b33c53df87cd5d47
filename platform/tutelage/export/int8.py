"""int8 variants of a student: written, measured on validation beside the original, and removed if they lose too much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage import intervals
from tutelage.data import Examples
from tutelage.export import bundle, load
from tutelage.export.forms import QUANTISED_FORMS
from tutelage.measure import Measure
from tutelage.networks import onnx_int8, timing
from tutelage.networks.blank import argument_names
from tutelage.signature import Signature
from tutelage.training import inference
from tutelage.training.context import TrainingContext

CALIBRATION_EXAMPLES, CALIBRATION_BATCH = 256, 32
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


def _batches(examples: Examples, rows: Tensor, signature: Signature) -> Iterator[dict[str, NDArray[Any]]]:
    """Give the arguments of the examples `rows` by name: a batch at a time, ragged ones alone, so that no range has padding."""
    size = 1 if any(spec.is_ragged for spec in signature.inputs) else CALIBRATION_BATCH
    for some in rows.split(size):
        arguments = (tensor.numpy() for tensor in examples.take(some).arguments)
        yield dict(zip(argument_names(signature), arguments, strict=True))


def add(draft: bundle.Draft, context: TrainingContext, max_loss: float) -> list[Variant]:
    """Write the draft's quantised forms, measure them, and remove those that lose more than `max_loss`.

    Ranges of activations come from training examples, the primary measure from all of validation. The draft must have its float
    ONNX file.
    """
    forms = [form for form in QUANTISED_FORMS if form in draft.forms]
    train, validation, task = context.splits["train"], context.splits["validation"], context.built_task
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))[:CALIBRATION_EXAMPLES]
    for form in forms:
        onnx_int8.QUANTISERS[form](draft.path("onnx"), draft.path(form), _batches(train, chosen, draft.signature))
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
