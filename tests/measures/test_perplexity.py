from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.measures.perplexity import MEASURE, perplexity_of


def test_it_is_the_exponential_of_all_nats_over_all_tokens() -> None:
    contributions = np.array([[4 * math.log(8), 3.0], [0.0, 1.0]])
    assert MEASURE.aggregate(contributions) == pytest.approx(8.0)
    assert perplexity_of(np.zeros((2, 2))) == 1.0
    assert math.isfinite(perplexity_of(np.array([[1e5, 1.0]])))


def test_equal_steps_of_bits_are_equal_gains() -> None:
    losses = [MEASURE.even_loss(2.0**bits) for bits in (1, 2, 3)]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0])
