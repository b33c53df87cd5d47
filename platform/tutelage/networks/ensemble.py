"""Several teachers as one: their label sequences are averaged, so that no loss knows how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.networks import checkpoint


class Ensemble(checkpoint.Wrapper):
    """The weighted mean of several networks' centred logits; its stages and weights are those of the first.

    At every temperature that is the normalised geometric mean of their distributions (Hinton et al., 2015, section 5, names
    it beside the arithmetic one), so what is cached once serves a whole search over temperatures.
    """

    def __init__(self, networks: Sequence[nn.Module], shares: Sequence[float]) -> None:
        super().__init__(networks[0])
        assert len(networks) == len(shares) > 0 and min(shares) >= 0 < sum(shares)
        self.others = nn.ModuleList(networks[1:])
        self.shares = [share / sum(shares) for share in shares]

    def forward(self, *inputs: Tensor) -> Any:
        """Return `[batch, …, classes]` logits of mean 0, of every label sequence."""
        given = [member(*inputs) for member in (self.network, *self.others)]
        if isinstance(given[0], Mapping):
            return {name: self._mean([one[name] for one in given]) for name in given[0]}
        return self._mean(given)

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(logits))
        weights = torch.tensor(self.shares, device=stacked.device, dtype=stacked.dtype)
        mean: Tensor = torch.tensordot(weights, stacked - stacked.mean(dim=-1, keepdim=True), dims=1)
        return mean


def read(directories: Sequence[Path], shares: Sequence[float]) -> nn.Module:
    """Return the networks in `directories` as one, in evaluation mode; a single one as it is."""
    networks = [checkpoint.read(directory)[0] for directory in directories]
    return networks[0] if len(networks) == 1 else Ensemble(networks, shares).eval()
