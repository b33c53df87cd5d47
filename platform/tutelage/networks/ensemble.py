"""Several teachers as one: their label sequences are averaged, so that no loss knows how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch, …, classes]` logits of mean 0."""
        answers = torch.stack([member(inputs) for member in (self.network, *self.others)])
        weights = torch.tensor(self.shares, device=answers.device, dtype=answers.dtype)
        mean: Tensor = torch.tensordot(weights, answers - answers.mean(dim=-1, keepdim=True), dims=1)
        return mean


def read(directories: Sequence[Path], shares: Sequence[float]) -> nn.Module:
    """Return the networks in `directories` as one, in evaluation mode; a single one as it is."""
    networks = [checkpoint.read(directory)[0] for directory in directories]
    return networks[0] if len(networks) == 1 else Ensemble(networks, shares).eval()
