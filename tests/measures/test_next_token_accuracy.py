from __future__ import annotations

import numpy as np
import pytest

from tutelage.measures.next_token_accuracy import MEASURE, share_of


def test_it_is_the_share_of_all_tokens_not_the_mean_of_shares() -> None:
    assert MEASURE.aggregate(np.array([[1.0, 1.0], [1.0, 5.0]])) == pytest.approx(2 / 6)
    assert share_of(np.zeros((2, 2))) == 1.0
