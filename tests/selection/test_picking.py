"""A pick that is replaced by another student has fresh seeds of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tutelage.objectives import objective
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.trial import TrialRecord
from tutelage.selection.picking import Picker
from tutelage.selection.query import SelectionQuery

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))


@pytest.mark.parametrize("num_seeds", [0, 2])
def test_the_student_that_is_taken_instead_is_trained_with_the_fresh_seeds(
    num_seeds: int, make_record: Callable[..., TrialRecord]
) -> None:
    trained: list[str] = []
    fresh: dict[str, list[float]] = {}

    def distilled(records: Sequence[TrialRecord]) -> dict[str, list[float]]:
        for record in records:
            if record.trial_id not in fresh:
                trained.append(record.trial_id)
            fresh[record.trial_id] = [record.measures["accuracy"] - 0.01 - 0.001 * seed for seed in range(num_seeds)]
        return {record.trial_id: fresh[record.trial_id] for record in records}

    context = SimpleNamespace(splits={"validation": range(10_000)}, seed=0)
    retraining: Any = SimpleNamespace(num_seeds=num_seeds, context=context, distilled=distilled, confirmed=lambda: dict(fresh))
    query = SelectionQuery(policy="best-quality", primary=OBJECTIVES[0].measure, objectives=OBJECTIVES)
    picker = Picker(query=query, retraining=retraining, rivals=6, events=Dispatcher())
    records = [make_record(0, accuracy=0.97, params=5000.0), make_record(1, accuracy=0.80, params=100.0)]
    picked = picker.pick(records)
    assert picked.record == records[0] and trained == (["t0000"] if num_seeds else [])
    assert picker.instead(picked, records[0], records, "the same") is picked
    other = picker.instead(picked, records[1], records, "The guard takes t0001.")
    assert other.record == records[1] and other.runner_up == records[0] and other.reason.endswith("The guard takes t0001.")
    assert trained == (["t0000", "t0001"] if num_seeds else [])
    if num_seeds:
        assert other.rivals["t0001"].mean == pytest.approx(0.7895) and other.rivals["t0000"].seeds == 2
