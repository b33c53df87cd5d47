"""Batch normalisation over all workers: with a single one it is torch's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from tutelage.networks.sync_batch_norm import SharedBatchNorm, share


@pytest.fixture
def one_worker(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_worker")
def test_outputs_gradients_and_running_moments_are_those_of_torch() -> None:
    own = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(48))
    shared = share(copy.deepcopy(own))
    assert [type(module) for module in shared.children() if not isinstance(module, nn.Conv2d | nn.Flatten)] == [
        SharedBatchNorm
    ] * 2
    for _ in range(3):
        batch = torch.randn(5, 2, 6, 6) * 3 + 1
        for model in (own, shared):
            model.zero_grad()
            model.train()(batch).square().sum().backward()
        for (name, left), right in zip(own.state_dict().items(), shared.state_dict().values(), strict=True):
            torch.testing.assert_close(left, right, msg=name)
        for left, right in zip(own.parameters(), shared.parameters(), strict=True):
            torch.testing.assert_close(left.grad, right.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(own.eval()(batch), shared.eval()(batch))
