"""Unit vectors and zero vectors."""

from __future__ import annotations

import pytest
import torch

from tutelage.losses._vectors import precise, unit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_vectors_have_length_1_and_zero_vectors_no_gradient(dtype: torch.dtype) -> None:
    vectors = torch.tensor([[3.0, 4.0], [3e-9, -4e-9], [0.0, 0.0], [1e-30, 0.0]], dtype=dtype, requires_grad=True)
    found = unit(vectors)
    direction = [1.0, 0.0] if dtype == torch.float64 else [0.0, 0.0]
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.6, -0.8], [0.0, 0.0], direction], dtype=dtype))
    found.sum().backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all() and not vectors.grad[2].any()


def test_unit_vectors_along_another_dimension() -> None:
    vectors = torch.randn(3, 4, 5)
    torch.testing.assert_close(unit(vectors, dim=1).norm(dim=1), torch.ones(3, 5))


def test_precise_raises_only_half_precision() -> None:
    raised = {
        dtype: precise(torch.ones(1, dtype=dtype)).dtype for dtype in (torch.half, torch.bfloat16, torch.float, torch.double)
    }
    assert list(raised.values()) == [torch.float, torch.float, torch.float, torch.double]
