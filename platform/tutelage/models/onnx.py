"""A trained network in an ONNX file, run by onnxruntime: a teacher that is taken as it is, and never trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from tutelage.errors import InputError
from tutelage.files import existing, sha256_of
from tutelage.models import _onnx_file as files
from tutelage.plugins import PluginConfig
from tutelage.signature import Signature

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """The file, and how its inputs and outputs are those of the data; a file that Tutelage exported says it itself."""

    path: str | None = Field(None, description="an .onnx file")
    package: str | None = Field(None, description="an installed package with an .onnx file, in place of `path`")
    file: str | None = Field(None, description="name of the file in the package; null: its only one")
    classes: list[str] | None = Field(
        None, min_length=1, description="names of the outputs in their order; null: those in the file, otherwise the data's"
    )
    classes_path: str | None = Field(None, description="a file with a name a line, in place of `classes`")
    blank: int = Field(0, ge=0, description="place of the blank among the outputs of a text recogniser, whose names lack it")
    output: str | None = Field(None, description="the output with the classes; null: the only one")
    features: list[str] | None = Field(
        None,
        min_length=1,
        description="tensors of the graph that are compared, in order of depth: stage1, stage2, …; null: none",
    )
    mean: list[float] = Field(
        [],
        description="means by which the network's inputs are normalised, in units of stored numbers, such as 0 to 255; one a "
        "channel, or one for all; []: as the data are",
    )
    std: list[float] = Field([], description="standard deviations that belong to `mean`, above 0")
    height_px: int | None = Field(
        None, ge=1, le=4096, description="height to which lines are scaled, pixels; null: the graph's, otherwise the data's"
    )
    stride: Literal[1, 2, 4, 8, 16, 32] | None = Field(
        None, description="columns of a step, to which lines are scaled in width; null: the nearest to their proportions"
    )

    @model_validator(mode="after")
    def _normalises(self) -> Config:
        if len(self.mean) != len(self.std) or not all(one > 0 for one in self.std):
            raise ValueError("mean and std have as many numbers, and those of std are above 0.")
        return self


def fingerprint(config: Config) -> str:
    """Return a hash of the file, and of the file with the names: the same path may hold others tomorrow."""
    names = "" if config.classes_path is None else sha256_of(existing(config.classes_path))
    return sha256_of(_place(config)) + names


def is_trained(config: Config) -> bool:
    """Return True: the network can be a teacher without any training."""
    return True


def is_frozen(config: Config) -> bool:
    """Return True: the network has no gradients, so it can be a teacher only, and only as it is."""
    return True


def build(config: Config, signature: Signature) -> nn.Module:
    """Return the network. On the meta device, too, its weights are on the CPU: its sizes are found by running it.

    Raises `InputError` for a file that cannot be read or has tensors in other files, for inputs of another form, and for
    classes that cannot be mapped.
    """
    from tutelage import onnx_files  # with onnx, which only processes with such a teacher load
    from tutelage.models._onnx_graph import Graph
    from tutelage.models._onnx_networks import Exported

    path = _place(config)
    model = onnx_files.read(path)
    described = {one.key: one.value for one in model.metadata_props}
    own = files.own_signature(path, described)
    with torch.device("cpu"):
        graph = Graph(model, path, config.features or ())
        if own is not None:
            return Exported(graph, own, signature, config.features or ())
        return _foreign(config, graph, signature, files.names_in(path, config.classes, config.classes_path, described))


def _place(config: Config) -> Path:
    return files.place_of(config.path, config.package, config.file)


def _foreign(config: Config, graph: Any, signature: Signature, names: Sequence[str]) -> nn.Module:
    """Return the network of a file without a signature. Raises `InputError` for other examples than it could take."""
    from tutelage.models._onnx_networks import Foreign, Lines, Way

    is_single = len(signature.inputs) == len(signature.outputs) == len(graph.inputs) == 1
    given, output = signature.inputs[0], signature.outputs[0]
    is_line = given.kind == "frames" and given.is_ragged and len(given.shape) == 3 and output.steps == given.name
    if not is_single or not (is_line or (given.kind in ("image", "vector") and output.steps is None)):
        listed = ", ".join(f"{one.kind} {one.shape}" for one in signature.inputs)
        raise InputError(
            f"{graph.path}: has {len(graph.inputs)} inputs and no signature of Tutelage, and the data are {listed}. Such a "
            "file can be a teacher for images or vectors with one class each, and for lines of text; for others, give one that "
            "`tutelage export` wrote."
        )
    way = Way(
        mean=config.mean, std=config.std, output=config.output, height_px=config.height_px, stride=config.stride
    )  # fmt: skip
    model = (Lines if is_line else Foreign)(graph, config.features or (), given, way)
    examples = [torch.randn(2, *given.typical_shape, generator=torch.Generator().manual_seed(0))]
    model.settle(output, names, config.blank, *examples, *([torch.ones(2, given.steps, dtype=torch.bool)] if is_line else []))
    return model
