"""int8 variants of a student: made, measured on validation beside the original, and kept only where they lose little."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from tutelage import intervals
from tutelage.export import bundle, load, onnx_format
from tutelage.networks import timing
from tutelage.training import inference
from tutelage.training.context import TrainingContext

CALIBRATION_EXAMPLES = 256


MAX_LOSS = 0.01


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A quantised form beside the original: accuracies on validation, what it loses with its 95 % interval, size, latency.

    `loss` is a share of the validation examples, the same ones for both, positive where the variant is worse; `size_bytes`
    is that of the weights; the latencies were measured in turns. `float_latency_ms` is the unquantised ONNX file's.
    """

    form: str
    is_written: bool
    accuracy: float
    float_accuracy: float
    loss: float
    loss_interval: tuple[float, float]
    size_bytes: float
    float_size_bytes: float
    latency_ms: float
    float_latency_ms: float

    def said(self) -> str:
        """Return in words what the variant costs and brings."""
        low, high = self.loss_interval
        return (
            f"{self.form} loses {100 * self.loss:.2f} points ({100 * low:.2f} to {100 * high:.2f}) of the accuracy on "
            f"validation, has {self.size_bytes:,.0f} of {self.float_size_bytes:,.0f} bytes and takes {self.latency_ms:.3g} "
            f"ms in place of {self.float_latency_ms:.3g}"
        )


def add(draft: bundle.Draft, context: TrainingContext, max_loss: float) -> list[Variant]:
    """Write the draft's quantised forms, measure them, and take away those that lose more than `max_loss`.

    Ranges of activations come from training examples, accuracies from all of validation. The draft's float ONNX file must
    be there.
    """
    forms = [form for form in bundle.QUANTISED_FORMS if form in draft.forms]
    train, validation, task = context.splits["train"], context.splits["validation"], context.built_task
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))[:CALIBRATION_EXAMPLES]
    for form in forms:
        onnx_format.QUANTISERS[form](draft.path("onnx"), draft.path(form), train.take(chosen).arguments[0])
    read = {form: load.read(draft.path(form)) for form in ("onnx", *forms)}
    correct = {
        form: inference.contributions_of(one.module, task, validation)[task.measures[0].name][:, 0] > 0.5
        for form, one in read.items()
    }
    latency = timing.latencies_ms({form: one.module for form, one in read.items()}, validation.take(slice(1)).arguments)
    found = []
    for form in forms:
        loss, low, high = intervals.paired_difference(correct["onnx"], correct[form])
        variant = Variant(
            form=form, is_written=loss <= max_loss, accuracy=float(correct[form].mean()),
            float_accuracy=float(correct["onnx"].mean()), loss=loss, loss_interval=(low, high),
            size_bytes=read[form].size_bytes, float_size_bytes=read["onnx"].size_bytes,
            latency_ms=latency[form]["latency_ms"], float_latency_ms=latency["onnx"]["latency_ms"],
        )  # fmt: skip
        found.append(variant)
        if variant.is_written:
            draft.details[form] = {"measured": asdict(variant), "calibration_examples": len(chosen)}
        else:
            draft.path(form).unlink()
    return found
