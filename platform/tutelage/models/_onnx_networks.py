"""Networks around an ONNX graph: one that Tutelage exported, one of an image or vector from elsewhere, a text recogniser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.models import _onnx_file as files
from tutelage.models._onnx_graph import Graph
from tutelage.models._onnx_inputs import (
    Normalised,
    check_channels,
    check_means,
    images_for,
    line_for,
    nearest_stride,
)
from tutelage.signature import InputSpec, OutputSpec, Signature, exported_names

_SMALLEST = torch.finfo(torch.float32).tiny  # the logarithm of a probability of 0 is that of this number
_WIDTHS_PX = (256, 512)  # of the lines by which the pixels of a step are found


class Features(nn.Module):
    """A tensor of the graph as a stage of the network; losses compare its output."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the features."""
        return features


class Around(nn.Module):
    """A graph between the data and the label sequences; its `stage1`, `stage2`, … are tensors of the graph."""

    def __init__(self, graph: Graph, features: Sequence[str]) -> None:
        super().__init__()
        self.graph, self.features = graph, list(features)
        for number in range(1, len(self.features) + 1):
            self.add_module(f"stage{number}", Features())

    def macs_for(self, arguments: Sequence[Tensor]) -> float:
        """Return the multiply–accumulates of one call, which torch does not see."""
        raise NotImplementedError

    def pass_on(self, found: Mapping[str, Tensor]) -> None:
        """Call each stage with its tensor."""
        for number, name in enumerate(self.features, start=1):
            self.get_submodule(f"stage{number}")(found[name])


class Exported(Around):
    """A network that Tutelage exported: its file has the names of its inputs, outputs and classes."""

    def __init__(self, graph: Graph, own: Signature, wanted: Signature, features: Sequence[str]) -> None:
        super().__init__(graph, features)
        files.check_inputs(graph.path, own.inputs, wanted.inputs)
        self.inputs = nn.ModuleList(
            Normalised(one, taken.mean, taken.std) for taken, one in zip(own.inputs, wanted.inputs, strict=True)
        )
        self.is_ragged = [one.is_ragged for one in wanted.inputs]
        theirs = {one.name: one for one in own.outputs}
        if missing := [one.name for one in wanted.outputs if one.name not in theirs]:
            raise InputError(f"{graph.path}: the network has {', '.join(theirs)}, and the task needs {', '.join(missing)}.")
        names = exported_names(own)  # the file has its outputs in the order of its code, which need not be the signature's
        if set(names.values()) != set(graph.outputs):
            listed = [", ".join(some) for some in (graph.outputs, names.values())]
            raise InputError(
                f"{graph.path}: has the outputs {listed[0]}, and its signature names {listed[1]}. Export it again."
            )
        self.outputs = {one.name: names[one.name] for one in wanted.outputs}
        self.columns = {
            one.name: files.columns_of(graph.path, one, theirs[one.name].names, theirs[one.name].num_classes, 0)
            for one in wanted.outputs
        }

    def forward(self, *arguments: Tensor) -> dict[str, Tensor]:
        """Return the logits of every label sequence."""
        found = self.graph(*self._own(arguments))
        self.pass_on(found)
        return {name: found[output][..., self.columns[name]] for name, output in self.outputs.items()}

    def macs_for(self, arguments: Sequence[Tensor]) -> float:
        """Return the multiply–accumulates of one call."""
        return self.graph.macs(*self._own(arguments))

    def _own(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """Return the arguments as the network was trained with; tokens and masks stay as they are."""
        left, own = list(arguments), list[Tensor]()
        for normalised, is_ragged in zip(self.inputs, self.is_ragged, strict=True):
            own.append(normalised(left.pop(0)))
            own += [left.pop(0)] if is_ragged else []
        return own


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a network from elsewhere takes its inputs: the options of the plugin with these names."""

    mean: Sequence[float]
    std: Sequence[float]
    output: str | None
    height_px: int | None
    stride: int | None


class Foreign(Around):
    """A network of one image or vector from elsewhere; one that takes a single example is called for each of a batch."""

    def __init__(self, graph: Graph, features: Sequence[str], given: InputSpec, way: Way) -> None:
        super().__init__(graph, features)
        ((_, sizes),) = graph.inputs.items()
        if len(sizes) != 1 + len(given.shape):
            raise InputError(
                f"{graph.path}: the network takes tensors of {len(sizes)} dimensions, and a batch of the data's {given.kind} "
                f"examples has {1 + len(given.shape)}."
            )
        if sizes[0] not in (None, 1):
            raise InputError(
                f"{graph.path}: the network takes batches of {sizes[0]} only. Export it for any number of examples, or for one."
            )
        own = int(given.typical_shape[1 if given.is_ragged else 0])
        self.channels = own if given.kind == "vector" else check_channels(graph.path, sizes[1], own)
        check_means(graph.path, way.mean, way.std, self.channels, given)
        self.sizes, self.normalised = sizes, Normalised(given, way.mean or given.mean, way.std or given.std)
        self.output = _output_of(graph, way.output)
        self.name, self.columns, self.are_probabilities = "", list[int](), False

    def settle(self, output: OutputSpec, names: Sequence[str], blank: int, *arguments: Tensor) -> None:
        """Find from the outputs of `arguments` how many classes there are, and whether they are logits or probabilities."""
        found = self._found(*arguments)
        self.name = output.name
        self.columns = files.columns_of(self.graph.path, output, names, found.shape[-1], blank)
        self.are_probabilities = bool((found >= 0).all() and ((found.sum(dim=-1) - 1).abs() < 1e-3).all())

    def forward(self, *arguments: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits `[batch, classes]`."""
        return self.logits(self._found(*arguments))

    def logits(self, found: Tensor) -> Tensor:
        """Return the logits of the data's classes; further ones are left out, so that the others share their probability."""
        return (found.clamp(min=_SMALLEST).log() if self.are_probabilities else found)[..., self.columns]

    def macs_for(self, arguments: Sequence[Tensor]) -> float:
        """Return the multiply–accumulates of one call."""
        return sum(self.graph.macs(some) for some in self._calls(arguments[0]))

    def _found(self, *arguments: Tensor) -> Tensor:
        calls = [self.graph(some) for some in self._calls(arguments[0])]
        found = {name: torch.cat([one[name] for one in calls]) for name in (self.output, *self.features)}
        self.pass_on(found)
        classes: Tensor = found[self.output]
        if classes.ndim != 2:
            raise InputError(f"{self.graph.path}: '{self.output}' is {tuple(classes.shape)}, and must be [batch, classes].")
        return classes

    def _calls(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the examples as the network takes them, in as many parts as it is called for."""
        own: Tensor = self.normalised(values)
        if own.ndim == 4:
            height, width = (size or given for size, given in zip(self.sizes[2:], own.shape[2:], strict=True))
            own = images_for(own, self.channels, height, width)
        parts: tuple[Tensor, ...] = own.split(self.sizes[0] or max(1, len(own)))
        return parts


class Lines(Foreign):
    """A text recogniser from elsewhere: it reads each line alone, at its own width, so that padding changes nothing."""

    def __init__(self, graph: Graph, features: Sequence[str], given: InputSpec, way: Way) -> None:
        super().__init__(graph, features, given, way)
        height = int(given.typical_shape[2])
        self.height = self.sizes[2] or way.height_px or height
        if self.sizes[3] is not None or way.height_px not in (None, self.height):
            size = f"{self.sizes[2] or 'any'} × {self.sizes[3] or 'any'}"
            raise InputError(f"{graph.path}: the network takes lines of {size} pixels; it must take any width.")
        self.step_px = self._pixels_of_a_step()
        self.stride = way.stride or nearest_stride(self.step_px, self.height, height)

    def forward(self, *arguments: Tensor) -> dict[str, Tensor]:
        """Return the logits `[batch, steps, classes]` of lines and their mask by the sequence's name."""
        return {self.name: self.logits(self._found(*arguments))}

    def macs_for(self, arguments: Sequence[Tensor]) -> float:
        """Return the multiply–accumulates of one call."""
        return sum(self.graph.macs(line) for line in self._lines(*arguments))

    def _found(self, *arguments: Tensor) -> Tensor:
        columns, mask = arguments
        steps = -(-columns.shape[1] // self.stride)
        if columns.is_meta:
            columns, mask = torch.zeros_like(columns, device="cpu"), torch.ones_like(mask, device="cpu")
        rows = [self.graph(line) for line in self._lines(columns, mask)]
        self.pass_on({name: _padded([_by_step(row[name]) for row in rows]) for name in self.features})
        found = _padded([_by_step(row[self.output]) for row in rows], steps)
        return found.to(arguments[0].device)

    def _lines(self, columns: Tensor, mask: Tensor) -> list[Tensor]:
        lengths = mask.sum(dim=1).tolist()
        own = self.normalised(columns)
        return [
            line_for(line[: max(1, length)], self.channels, self.height, self.stride, self.step_px)
            for line, length in zip(own, lengths, strict=True)
        ]

    def _pixels_of_a_step(self) -> int:
        """Return the pixels of a step of the network. Raises `InputError` if steps are no fixed share of the columns."""
        images = [torch.zeros(1, self.channels, self.height, width) for width in _WIDTHS_PX]
        found = [self.graph(image)[self.output] for image in images]
        if found[0].ndim != 3:
            shape = tuple(found[0].shape)
            raise InputError(f"{self.graph.path}: '{self.output}' is {shape} for one line, and must be [1, steps, classes].")
        counts = [_by_step(one).shape[1] for one in found]
        pixels = {width // max(1, count) for width, count in zip(_WIDTHS_PX, counts, strict=True)}
        if len(pixels) != 1 or any(count * min(pixels) != width for width, count in zip(_WIDTHS_PX, counts, strict=True)):
            listed = " and ".join(f"{count} steps for {width} pixels" for width, count in zip(_WIDTHS_PX, counts, strict=True))
            raise InputError(f"{self.graph.path}: the network gives {listed}: no step for a fixed number of pixels.")
        return pixels.pop()


def _by_step(found: Tensor) -> Tensor:
    """Return a tensor of one line as `[1, steps, channels]`, from `[1, channels, height, steps]` or `[steps, 1, channels]`."""
    if found.ndim == 4:
        return found.flatten(1, 2).transpose(1, 2)
    return found if found.shape[0] == 1 else found.transpose(0, 1)


def _padded(rows: Sequence[Tensor], steps: int = 0) -> Tensor:
    """Return `[batch, steps, channels]` with 0 behind the last step of each row; at least as many steps as the longest has."""
    padded: Tensor = nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
    return nn.functional.pad(padded, (0, 0, 0, max(0, steps - padded.shape[1])))


def _output_of(graph: Graph, name: str | None) -> str:
    outputs = graph.outputs
    if (name is None and len(outputs) != 1) or (name is not None and name not in outputs):
        raise InputError(f"{graph.path}: has the outputs {', '.join(outputs)}. Name the one with the classes by 'output'.")
    return name or outputs[0]
