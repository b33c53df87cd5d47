"""Architectures of teachers and students, one file each.

`build(config, signature)` returns an untrained network: the plugin's body, and a head for every label sequence of the
signature (`heads`). Under `torch.device("meta")` it needs no memory and no time; this is how a student is sized before it is
trained. The children named `stage1`, `stage2`, … output the features of its stages, in order of depth.

The arguments of a network are its inputs in the order of the signature, each ragged one followed by its mask
`[batch, steps]`. It returns logits `[batch, classes]`, or `[batch, steps, classes]` if its only output has a step for each
position. With several outputs, it returns a mapping by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from keyword import iskeyword

from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.masks import masked_mean
from tutelage.signature import Signature


def image_shape(name: str, signature: Signature) -> tuple[int, int, int]:
    """Return (channels, height, width). Raises `InputError` for other examples than images and for outputs of several steps."""
    shapes = [spec.shape for spec in signature.inputs]
    if len(shapes) != 1 or signature.inputs[0].is_ragged or len(shapes[0]) != 3:
        listed = ", ".join(map(str, shapes))
        raise InputError(f"model '{name}' takes images [channels, height, width]; the data has {listed}.")
    check_one_step(name, signature)
    channels, height, width = signature.example_shape
    return channels, height, width


def check_one_step(name: str, signature: Signature) -> None:
    """Raise `InputError` for outputs with a step for each position; the network `name` has one feature vector an example."""
    stepped = [output.name for output in signature.outputs if output.steps]
    if stepped:
        raise InputError(
            f"model '{name}' outputs one step an example; the task needs one for each position of {', '.join(stepped)}."
        )


class Heads(nn.ModuleDict):
    """A linear layer for every label sequence, by name; behind a name that Python reserves, such as `class`, stands `_`."""

    def __init__(self, fan_in: int, signature: Signature) -> None:
        self.layers = {one.name: f"{one.name}_" if iskeyword(one.name) else one.name for one in signature.outputs}
        widths = {self.layers[one.name]: one.num_classes for one in signature.outputs}
        super().__init__({layer: keep_width(nn.Linear(fan_in, width)) for layer, width in widths.items()})
        self.stepped = tuple(one.name for one in signature.outputs if one.steps)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits of every sequence from features `[batch, channels]` or `[batch, positions, channels]`.

        A sequence of one step is computed from the mean of the features over the positions, or over those of `mask`.
        """
        pooled = features if features.ndim == 2 else masked_mean(features, mask)
        return {name: self[layer](features if name in self.stepped else pooled) for name, layer in self.layers.items()}


def over_steps(head: nn.Module, features: Tensor, mask: Tensor) -> Tensor | dict[str, Tensor]:
    """Return what a module of `heads` computes from features `[batch, positions, channels]`, of which `mask` has the real ones.

    For a single sequence of one step it gets their mean.
    """
    found: Tensor | dict[str, Tensor]
    found = head(features, mask) if isinstance(head, Heads) else head(masked_mean(features, mask))
    return found


def heads(fan_in: int, signature: Signature) -> nn.Module:
    """Return the module that computes the label sequences of `signature` from features of `fan_in` channels.

    For a single sequence of one step this is a linear layer, otherwise `Heads`.
    """
    if len(signature.outputs) > 1 or signature.outputs[0].steps:
        return Heads(fan_in, signature)
    return keep_width(nn.Linear(fan_in, signature.outputs[0].num_classes))


def normed_conv(
    fan_in: int, fan_out: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True, bias: bool = False
) -> nn.Sequential:
    """Return a convolution with same padding, batch normalisation and, with `relu`, a ReLU."""
    convolution = nn.Conv2d(fan_in, fan_out, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(fan_out), *([nn.ReLU(inplace=True)] if relu else []))


def staged(children: Mapping[str, nn.Module]) -> nn.Sequential:
    """Return a sequence of the children, each under its name."""
    return nn.Sequential(OrderedDict(children))


def pooled_head(fan_in: int, signature: Signature) -> nn.Sequential:
    """Return global average pooling, followed by the heads."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), heads(fan_in, signature))


def keep_width(module: nn.Module) -> nn.Module:
    """Mark a layer whose output channels must not be removed, because later layers depend on their number; return it."""
    module.keeps_width = True  # type: ignore[assignment]
    return module


def separate_channels(module: nn.Module) -> nn.Module:
    """Mark a module whose inner channels are removed independently of the rest of the network; return it.

    Splits and shuffles hide the dependencies between such modules. In a network with marked modules, channels are removed only
    from them.
    """
    module.has_separate_channels = True  # type: ignore[assignment]
    return module
