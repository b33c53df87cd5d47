"""Students quantised to int8 by onnxruntime, with activation ranges from training examples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from tutelage import foreign
from tutelage.errors import WorkFailed
from tutelage.networks import runtime
from tutelage.networks.blank import argument_names
from tutelage.training.context import TrainingContext
from tutelage.training.student_measures import final_measures, output_measures

CALIBRATION_EXAMPLES, CALIBRATION_BATCH = 256, 32


def calibration(context: TrainingContext) -> Iterator[dict[str, NDArray[Any]]]:
    """Give the arguments of 256 training examples, drawn by the seed, by name: a batch at a time.

    Ragged examples come alone, so that no range has padding.
    """
    train, signature = context.splits["train"], context.signature
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))[:CALIBRATION_EXAMPLES]
    for some in chosen.split(1 if any(spec.is_ragged for spec in signature.inputs) else CALIBRATION_BATCH):
        arguments = (tensor.numpy() for tensor in train.take(some).arguments)
        yield dict(zip(argument_names(signature), arguments, strict=True))


def quantise(model: nn.Module, context: TrainingContext, path: Path, about: dict[str, str]) -> str:
    """Write `model` to `path` quantised to int8 (static QDQ, a scale a channel); return in words what stays float.

    Raises `WorkFailed` with onnxruntime's reason for a network that it cannot quantise.
    """
    from tutelage.networks import onnx_int8

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        runtime.write_onnx(source, model, context.signature, about)
        try:
            onnx_int8.quantise_static(source, path, calibration(context))
        except Exception as error:  # onnxruntime and onnx raise what they meet
            raise WorkFailed(f"onnxruntime cannot quantise the network: {foreign.reason(error)}.") from error
    return onnx_int8.float_weights(path)


def measured(path: Path, model: nn.Module, context: TrainingContext) -> dict[str, float]:
    """Return the measures of the int8 file at `path`, whose float network is `model`.

    Quality and agreement are those of the file in onnxruntime, `size_bytes` is that of its weights; parameters and MACs are
    the network's, as quantisation changes none.
    """
    from tutelage.networks import onnx_format

    own = output_measures(runtime.opened(path), context)
    return {**final_measures(model, context), **own, "size_bytes": onnx_format.size_bytes(path)}
