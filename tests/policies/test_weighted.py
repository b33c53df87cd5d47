"""The weighted largest distance, and what decides between equal ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tutelage import plugins
from tutelage.objectives import objective
from tutelage.policies import SelectionContext
from tutelage.records.trial import TrialRecord


def test_students_with_an_equal_largest_distance_differ_in_their_weighted_scores(
    make_record: Callable[..., TrialRecord],
) -> None:
    """The first and the last are the largest, which is their largest distance; the last is better in the sum."""
    objectives = (objective("accuracy"), *(replace(objective(name), reference=1e6) for name in ("params", "macs")))
    rows = [(0.9, 100.0, 90.0), (0.5, 1.0, 100.0), (0.89, 100.0, 1.0)]
    front = [make_record(i, accuracy=a, params=p, macs=m) for i, (a, p, m) in enumerate(rows)]
    _, plugin, config = plugins.configure("policies", {"weighted": {"weights": {"accuracy": 0.1, "macs": 0.1}}})
    context = SelectionContext(objectives=objectives, primary=objectives[0].measure, teacher={}, quality="accuracy")
    scores = plugin.scores(config, front, context)
    assert scores[2] > scores[0]
