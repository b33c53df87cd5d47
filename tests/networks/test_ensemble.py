"""Several teachers as one: the mean of their centred logits, weighted by their shares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tutelage.networks.ensemble import Ensemble


class Constant(nn.Module):
    """A network that gives the same logits for every example."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits.expand(len(inputs), -1)


class Named(Constant):
    """The same as a mapping by label sequence."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"class": super().forward(inputs)}


@pytest.mark.parametrize(("shares", "expected"), [((1, 1), (-0.5, 0.5)), ((3, 1), (-1.25, 1.25)), ((1, 0), (-2.0, 2.0))])
def test_logits_are_the_weighted_mean_of_centred_logits(shares: tuple[float, float], expected: tuple[float, float]) -> None:
    """The first network's logits lie around 10 and the second's around -7; only their differences count."""
    for kind in (Constant, Named):
        found = Ensemble([kind(8.0, 12.0), kind(-6.0, -8.0)], shares)(torch.zeros(2, 1))
        logits = found if isinstance(found, Tensor) else found["class"]
        torch.testing.assert_close(logits, torch.tensor([expected] * 2))
