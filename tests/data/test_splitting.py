from __future__ import annotations

import numpy as np

from tutelage.data import UNKNOWN
from tutelage.data._splitting import draw, training_labels

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 1, 1])


def test_the_draw_of_a_seed_does_not_change() -> None:
    """Stored teachers are found by the fingerprint of their examples: another draw would train every teacher again."""
    drawn = draw(LABELS, 3, 0.25, 0.25, "here", per_class=2)
    assert [rows.tolist() for rows in drawn] == [[3, 4, 5, 7, 8, 13], [0, 2, 6, 10, 14], [1, 9, 11, 12, 15]]


def test_retained_labels_depend_on_the_seed() -> None:
    rows = np.arange(len(LABELS))
    left = [np.flatnonzero(training_labels(LABELS, rows, seed, 1) != UNKNOWN).tolist() for seed in (3, 4, 3)]
    assert left == [[9, 11, 15], [1, 2, 13], [9, 11, 15]]
