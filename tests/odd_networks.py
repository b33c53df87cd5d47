"""Networks as users write them: some work to the end, some cannot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Base(nn.Module):
    """A hidden layer and a head, over flattened digits."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, width), nn.Linear(width, 10)

    def hidden(self, inputs: Tensor) -> Tensor:
        return functional.relu(self.body(inputs.flatten(1)))

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.hidden(inputs))


class Unsaved(Base):
    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 64), persistent=False)
        self.shift = torch.from_numpy(np.linspace(0, 1, 64, dtype=np.float32))

    def hidden(self, inputs: Tensor) -> Tensor:
        return super().hidden(inputs.flatten(1) * self.scale + self.shift)


class ReadsNumbers(Base):
    """A constructor that reads numbers, which the meta device has none of."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(width)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]

    def hidden(self, inputs: Tensor) -> Tensor:
        return functional.dropout(super().hidden(inputs), self.rates[-1], self.training)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.second(self.first(inputs.flatten(1)).relu()).relu())


class Lazy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LazyLinear(16)


class Named(Base):
    def forward(self, inputs: Tensor) -> Any:
        return {"class": super().forward(inputs)}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.layer(inputs[:, 0])[0][:, -1])


class Encoder(nn.Module):
    """A transformer over the rows of an image; `heads` must divide `width`."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, width)
        self.layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.1, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.layer(self.embedding(inputs[:, 0])).mean(dim=1))


class RandomConstant(Base):
    def __init__(self) -> None:
        super().__init__()
        self.noise = torch.randn(64)

    def hidden(self, inputs: Tensor) -> Tensor:
        return super().hidden(inputs.flatten(1) * self.noise)


class UnsavedStatistic(Base):
    """A running mean in a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(64), persistent=False)

    def hidden(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * flat.mean(0)
        return super().hidden(flat - self.mean)


class DifferentEachTime(Base):
    def __init__(self) -> None:
        super().__init__()
        nn.init.normal_(self.body.weight, generator=torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "big")))


class AlwaysDropping(Base):
    def hidden(self, inputs: Tensor) -> Tensor:
        return functional.dropout(super().hidden(inputs), 0.5)


class Squeezed(Base):
    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs).squeeze()


class WithinBatch(Base):
    def hidden(self, inputs: Tensor) -> Tensor:
        seen = super().hidden(inputs)
        return seen - seen.mean(dim=0)


@dataclass
class Result:
    logits: Tensor


class ReturnsDataclass(Base):
    def forward(self, inputs: Tensor) -> Any:
        return Result(super().forward(inputs))


class ReturnsOtherName(Base):
    def forward(self, inputs: Tensor) -> Any:
        return {"logits": super().forward(inputs), "hidden": None}


class ReturnsPair(Base):
    def forward(self, inputs: Tensor) -> Any:
        seen = self.hidden(inputs)
        return self.head(seen), seen


class WrongShape(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 10)


class FailsInTraining(Base):
    def hidden(self, inputs: Tensor) -> Tensor:
        if self.training:
            raise ZeroDivisionError("this network cannot be trained")
        return super().hidden(inputs)


class Frozen(Base):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class BranchesOnNumbers(Base):
    def forward(self, inputs: Tensor) -> Any:
        if inputs.mean() > 0:
            return super().forward(inputs)
        return super().forward(-inputs)


class Parameterless(nn.Module):
    def forward(self, inputs: Tensor) -> Any:
        return inputs.flatten(1)[:, :10]


class Reshaped(nn.Module):
    """A network whose code counts its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8 * 64, 10)

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.body(inputs).relu().view(-1, 8 * 64))


class Staged(nn.Module):
    """A stage whose output is a tuple, which losses of features cannot compare."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1, self.stage2, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Any:
        return self.head(self.stage2(self.stage1(inputs[:, 0])[0][:, -1]))


class Loud(Base):
    """A network that prints, and changes the process that builds and runs it."""

    def hidden(self, inputs: Tensor) -> Tensor:
        print("hello")
        os.environ["TUTELAGE_LOUD"] = "1"
        return super().hidden(inputs)


class Exits(Base):
    def hidden(self, inputs: Tensor) -> Tensor:
        raise SystemExit(3)


class Double(Base):
    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs).double()


def not_a_module() -> Any:
    return "a network"


def asserts() -> nn.Module:
    raise AssertionError


class InPlace(Base):
    """Changes its inputs."""

    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs.mul_(0.5))


class Probabilities(Base):
    """Takes softmax itself, so that the loss would take it of probabilities."""

    def forward(self, inputs: Tensor) -> Any:
        return functional.softmax(super().forward(inputs), -1)


def scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def compiled() -> Any:
    return torch.compile(Base())
