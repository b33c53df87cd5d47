"""Several teachers as one network: their label sequences are averaged, so that losses need not handle several teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.networks import checkpoint
from tutelage.networks.trust import EVERYTHING


class Ensemble(checkpoint.Wrapper):
    """The weighted mean of several networks' centred logits; its stages and weights are those of the first network.

    At every temperature this is the normalised geometric mean of their distributions (Hinton et al., 2015, section 5, mention
    it next to the arithmetic mean). So one cache serves a search over temperatures.
    """

    def __init__(self, networks: Sequence[nn.Module], shares: Sequence[float]) -> None:
        super().__init__(networks[0])
        assert len(networks) == len(shares) > 0 and min(shares) >= 0 < sum(shares)
        self.others = nn.ModuleList(networks[1:])
        self.shares = [share / sum(shares) for share in shares]

    def forward(self, *inputs: Tensor) -> Any:
        """Return logits `[batch, …, classes]` of mean 0 for every label sequence."""
        outputs = [member(*inputs) for member in (self.network, *self.others)]
        if isinstance(outputs[0], Mapping):
            return {name: self._mean([output[name] for output in outputs]) for name in outputs[0]}
        return self._mean(outputs)

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(logits))
        weights = torch.tensor(self.shares, device=stacked.device, dtype=stacked.dtype)
        mean: Tensor = torch.tensordot(weights, stacked - stacked.mean(dim=-1, keepdim=True), dims=1)
        return mean


def read(directories: Sequence[Path], shares: Sequence[float]) -> nn.Module:
    """Return the networks in `directories` as one network in evaluation mode; a single network is not wrapped."""
    networks = [checkpoint.read(directory, EVERYTHING)[0] for directory in directories]  # this sweep's driver put them there
    return networks[0] if len(networks) == 1 else Ensemble(networks, shares).eval()
