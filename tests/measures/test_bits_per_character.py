from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage import intervals
from tutelage.measures.bits_per_character import MEASURE, bits_of


def test_all_bits_are_divided_by_all_characters() -> None:
    contributions = np.array([[4 * math.log(2), 3.0], [8 * math.log(2), 1.0]])
    assert MEASURE.aggregate(contributions) == pytest.approx(3.0)
    assert bits_of(np.zeros((2, 2))) == 0.0


def test_the_interval_is_a_bootstrap_over_texts() -> None:
    nats = np.random.default_rng(0).gamma(50, 2.0, 400)
    contributions = np.stack([nats, np.full(400, 60.0)], axis=1)
    found, error = intervals.interval(MEASURE, contributions), nats.std() / math.sqrt(400) / 60 / math.log(2)
    assert found is not None and found[0] < bits_of(contributions) < found[1]
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * error, rel=0.15)
