"""The expected calibration error against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.data import Batch
from tutelage.measures.calibration_error import expected_error, gaps_of
from tutelage.tasks import LabelSequence


def guo(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the error by its formula (Guo et al., 2017, equation 3), bin by bin."""
    total = 0.0
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def error_of(logits: Tensor, labels: Tensor, mask: Tensor | None = None, target_mask: Tensor | None = None) -> float | None:
    masks = {} if target_mask is None else {"class": target_mask}
    batch = Batch(inputs={"inputs": torch.zeros(len(labels), 1)}, targets={"class": labels}, masks=masks)
    found = gaps_of({"class": LabelSequence(logits=logits, mask=mask)}, batch)
    return None if found is None else expected_error(found.numpy())


def test_the_error_is_that_of_the_formula() -> None:
    """The first half is less confident than it is right, the second half more."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(400, 1, 5, generator=generator) * 2, torch.randint(5, (400,), generator=generator)
    labels[:200], logits[:200] = logits[:200, 0].argmax(dim=-1), logits[:200] * 0.1
    confidence, best = logits[:, 0].double().softmax(-1).max(-1)
    expected = guo(confidence.numpy(), (best == labels).numpy())
    assert error_of(logits, labels) == pytest.approx(expected, abs=1e-12) and expected > 0.1


def test_confidence_of_a_half_that_is_right_half_of_the_time_has_no_error() -> None:
    logits, labels = torch.zeros(4, 1, 2), torch.tensor([0, 1, 0, 1])
    assert error_of(logits, labels) == pytest.approx(0.0)
    assert error_of(logits + torch.tensor([50.0, 0.0]), labels) == pytest.approx(0.5)


def test_only_labelled_real_steps_count() -> None:
    logits = torch.tensor([[[9.0, 0.0], [9.0, 0.0], [float("nan"), 0.0]], [[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]])
    mask, labels = torch.tensor([[True, True, False], [True, True, True]]), torch.tensor([[0, 0, 1], [0, 1, -1]])
    assert error_of(logits, labels, mask) == pytest.approx(1 - float(torch.tensor([9.0, 0.0]).softmax(-1)[0]), abs=1e-6)


def test_targets_that_are_no_class_for_every_step_have_no_error() -> None:
    logits, mask = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    shorter = torch.tensor([[True, True, True], [True, False, False]])
    assert error_of(logits, torch.zeros(2, 2, dtype=torch.long), mask) is None
    assert error_of(logits, torch.zeros(2, 3, dtype=torch.long), mask, shorter) is None, "a text that happens to be as long"
    assert error_of(logits, torch.zeros(2, 3), mask) is None, "numbers"
    assert math.isnan(error_of(logits, torch.full((2, 3), -1), mask) or 0.0), "no label at all"


def test_each_label_sequence_has_bins_of_its_own() -> None:
    over, under = torch.tensor([[[50.0, 0.0]]]), torch.tensor([[[0.0, 0.0]]])
    batch = Batch(inputs={"inputs": torch.zeros(1, 1)}, targets={"a": torch.tensor([1]), "b": torch.tensor([0])})
    found = gaps_of({"a": LabelSequence(logits=over), "b": LabelSequence(logits=under)}, batch)
    assert found is not None and found.shape == (1, 32)
    assert expected_error(found.numpy()) == pytest.approx((1.0 + 0.5) / 2)
