"""Means and losses over real steps, and the forms of a network's output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tutelage.data import UNKNOWN, Batch
from tutelage.masks import masked_mean
from tutelage.tasks import LabelSequence, called, cross_entropy


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.sampled_from([float("nan"), float("inf"), 1e30]))
def test_a_masked_mean_is_the_mean_over_real_steps(lengths: list[int], filling: float) -> None:
    values = torch.randn(len(lengths), 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    expected = torch.stack([row[:n].mean() if n else row.new_zeros(()) for row, n in zip(values, lengths, strict=True)])
    torch.testing.assert_close(masked_mean(values.where(mask, filling), mask), expected)
    torch.testing.assert_close(masked_mean(values, None), values.mean(dim=1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("filling", [float("nan"), float("inf"), 1e30])
def test_an_examples_cross_entropy_does_not_depend_on_padding(smoothing: float, filling: float) -> None:
    """Two steps without padding and the same steps padded to eight cost the same, and padding has no gradient."""
    alone = torch.tensor([[[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]], dtype=torch.double)
    labels, padded_labels = torch.tensor([[0, 2]]), torch.tensor([[0, 2, *[UNKNOWN] * 6]])
    padded = torch.full((1, 8, 3), filling, dtype=torch.double)
    padded[:, :2] = alone
    padded.requires_grad_()
    mask = torch.arange(8).unsqueeze(0) < 2
    cost = cross_entropy(LabelSequence(logits=alone), labels, smoothing)
    expected = functional.cross_entropy(alone[0], labels[0], label_smoothing=smoothing)
    torch.testing.assert_close(cost, expected.unsqueeze(0))
    for other in (padded_labels, padded_labels.where(mask, 1)):
        found = cross_entropy(LabelSequence(logits=padded, mask=mask), other, smoothing)
        (gradient,) = torch.autograd.grad(found.sum(), padded)
        assert torch.equal(found, cost) and gradient.isfinite().all() and not gradient[:, 2:].any()


def test_unlabelled_steps_are_excluded_and_an_unlabelled_example_costs_0() -> None:
    logits = torch.randn(2, 2, 3, requires_grad=True)
    cost = cross_entropy(LabelSequence(logits=logits), torch.tensor([[1, UNKNOWN], [UNKNOWN, UNKNOWN]]), 0.1)
    torch.testing.assert_close(cost[0], functional.cross_entropy(logits[0, :1], torch.tensor([1]), label_smoothing=0.1))
    (gradient,) = torch.autograd.grad(cost.sum(), logits)
    assert cost[1] == 0 and not gradient[1].any() and not gradient[0, 1].any()


class Given(nn.Module):
    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.given


@pytest.mark.parametrize("sort", ["mapping", "tuple"])
def test_a_network_may_return_its_sequences_by_name_or_in_order(sort: str) -> None:
    slots, intent = torch.randn(2, 3, 4), torch.randn(2, 5)
    given = {"intent": intent, "slots": slots} if sort == "mapping" else (slots, intent)
    batch = Batch(inputs={"inputs": torch.zeros(2, 1)}, targets={})
    found = called(Given(given), batch, "slots", "intent")
    assert found["slots"] is slots and torch.equal(found["intent"], intent.unsqueeze(1))
    assert torch.equal(called(Given(intent), batch, "class")["class"], intent.unsqueeze(1))
