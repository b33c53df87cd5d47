"""N:M sparsity: of every M weights of an input row, the N most important stay (Zhou et al., 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._masks import Masked, apply
from tutelage.sparsity._removal import Removal, RemovalConfig

KIND = "unstructured"  # by which `composed` orders its stages
SPACE: dict[str, dict[str, object]] = {"score": {"choice": ["magnitude", "activation"]}}

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class Config(RemovalConfig):
    """The group size M, and how weights are compared."""

    m: int = Field(4, ge=2, le=64, description="weights of a group; the sparsity decides how many of them stay")
    score: Literal["magnitude", "activation"] = Field(
        "magnitude",
        description="magnitude: |w|; activation: |w| · ‖x‖, with the norm over training batches of the input that the weight "
        "multiplies (Wanda; Sun et al., 2024)",
    )


def build(config: Config, amount: float) -> Method:
    """Return the method that removes the share `amount` of every group of M weights, rounded to whole weights."""
    return NofM(config, amount)


class NofM(Removal, Masked):
    """Removes the weights once. Layers whose inputs M does not divide stay whole.

    The groups lie along the input channels, at each position of a kernel, as sparse tensor cores read them. `nonzero_params`
    counts the zeros; other measures need a runtime that uses them.
    """

    def __init__(self, config: Config, amount: float) -> None:
        super().__init__(config, amount)
        self._config = config

    @property
    def n(self) -> int:
        """The number of weights of a group that are kept."""
        return min(self._config.m, max(1, round((1.0 - self.amount) * self._config.m)))

    @property
    def made(self) -> str:
        """The number of kept weights of a group, and the score."""
        return f"{self.n} of {self._config.m} weights kept, by {self._config.score}"

    def presized(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> nn.Module:
        """Return `model` as it is. Raises `InputError` if M divides the inputs of no layer."""
        if not layers(model, self._config.m):
            raise InputError(
                f"sparsity.method n_m: no layer has a number of inputs that {self._config.m} divides. Change m or the widths."
            )
        return model

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        """Return `model` with its weights removed, in place."""
        found = layers(model, self._config.m)
        norms = input_norms(model, found, calibration.batches(8)) if self._config.score == "activation" else {}
        for name, layer in found.items():
            score = layer.weight.detach().abs()
            if name in norms:
                score = score * norms[name].view(1, -1, *[1] * (score.ndim - 2))
            self.masks[f"{name}.weight"] = most_important(score, self.n, self._config.m)
        apply(self.masks, model)
        return model


def layers(model: nn.Module, m: int) -> dict[str, Layer]:
    """Return the linear and convolutional layers by name whose inputs `m` divides; of a shared weight, the first layer."""
    found: dict[int, tuple[str, Layer]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, Layer) and layer.weight.shape[1] % m == 0:
            found.setdefault(id(layer.weight), (name, layer))
    return dict(found.values())


def most_important(score: Tensor, n: int, m: int) -> Tensor:
    """Return a mask like `score` `[outputs, inputs, …]`: of every m inputs, the n highest; of equal ones, the first."""
    grouped = score.movedim(1, -1)
    rows = grouped.reshape(-1, m)
    order = rows.argsort(dim=1, descending=True, stable=True)
    mask = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order[:, :n], True)
    return mask.view(grouped.shape).movedim(-1, 1).contiguous()


def input_norms(model: nn.Module, found: dict[str, Layer], batches: Iterable[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """Return by layer the Euclidean norm of each of its input channels over all examples and positions of the batches.

    For a grouped convolution, the channels at the same place of each group count together, as its weights have no other axis.
    """
    squares: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def add(layer: Layer, inputs: tuple[Tensor, ...]) -> None:
            channels = inputs[0].movedim(1, -1) if not isinstance(layer, nn.Linear) else inputs[0]
            own = channels.detach().reshape(-1, layer.weight.shape[1]).square().sum(dim=0)
            squares[name] = squares[name] + own if name in squares else own

        return add

    hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in found.items()]
    was_training = model.training
    try:
        with torch.no_grad():
            for arguments in batches:
                model.eval()(*arguments)
    finally:
        model.train(was_training)
        for one in hooks:
            one.remove()
    return {name: square.sqrt() for name, square in squares.items()}
