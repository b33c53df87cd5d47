from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (4, 36), (64, 9), (1, 5)])
def test_the_orthogonalised_matrix_has_the_same_directions_and_equal_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.double)
    found = orthogonal(matrix)
    sizes = torch.linalg.svdvals(found)
    assert sizes.max() < 1.3 and sizes.min() > 0.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ found @ v.T
    torch.testing.assert_close(inner, torch.diag(torch.diagonal(inner)), atol=1e-9, rtol=0)
    torch.testing.assert_close(orthogonal(matrix * 1e4), found, atol=1e-6, rtol=1e-4)


def test_weights_decay_and_the_adamw_groups_step_as_adamw_does() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon([{"params": list(ours.parameters()), "adamw": True}], lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(20):
        batch = torch.randn(8, 4)
        for model, optimizer in ((ours, muon), (theirs, adamw)):
            optimizer.zero_grad()
            model(batch).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_a_step_has_the_size_of_a_step_of_adamw() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(32, 16, 3, 3))
    optimizer = Muon([{"params": [kernel]}], lr=1.0, weight_decay=0.0)
    kernel.grad = torch.randn_like(kernel)
    optimizer.step()
    assert kernel.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.3), "the root mean square that AdamW's steps have"


def test_muon_fits_a_linear_map() -> None:
    torch.manual_seed(0)
    target, model = torch.randn(6, 10), nn.Linear(10, 6, bias=False)
    optimizer = Muon([{"params": [model.weight]}], lr=0.5, weight_decay=0.0)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - step / 300)
        optimizer.zero_grad()
        (model.weight - target).square().sum().backward()
        optimizer.step()
    assert (model.weight - target).abs().max() < 0.05
