"""The distances whose largest is the knee."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tutelage import plugins
from tutelage.objectives import objective
from tutelage.policies import SelectionContext
from tutelage.policies.knee import scores as knee_scores
from tutelage.records.trial import TrialRecord

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))


def test_the_knee_is_the_point_below_the_chord(make_record: Callable[..., TrialRecord]) -> None:
    """On log10 axes scaled to 1, (0, 1) and (1, 0) lie on the chord and (0, 0) is 1/√2 below it."""
    front = [make_record(i, accuracy=a, params=p) for i, (a, p) in enumerate([(0.9, 1e4), (0.9, 1e2), (0.5, 1e2)])]
    config = plugins.configure("policies", "knee")[2]
    distances = knee_scores(
        config, front, SelectionContext(objectives=OBJECTIVES, primary=OBJECTIVES[0].measure, teacher={}, quality="accuracy")
    )
    np.testing.assert_allclose(distances, [0, 2**-0.5, 0], atol=1e-12)
