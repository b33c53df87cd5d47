"""The steps from a whole network over removals to an int8 file, each with its gain and its loss."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage import plugins
from tutelage.measure import Measure
from tutelage.records.steps import steps_of
from tutelage.records.trial import Candidate, TrialRecord

MEASURES: dict[str, Measure] = {
    name: plugins.measure(name) for name in ("accuracy", "calibration_error", "params", "size_bytes", "latency_ms")
}


def trial(*, quantise: bool, is_ladder: bool = True, rungs: int = 2) -> list[TrialRecord]:
    """Return the candidates of a trial: a float network on each rung, followed by its int8 file."""
    found = []
    for rung in range(rungs):
        for is_int8 in (False, True) if quantise else (False,):
            measures = {
                "accuracy": 0.95 - 0.02 * rung - 0.01 * is_int8, "calibration_error": 0.03, "params": 1000.0 / (1 + rung),
                "size_bytes": 4000.0 / (1 + rung) / (4 if is_int8 else 1), **({"latency_ms": 2.0} if rung else {}),
            }  # fmt: skip
            made = ("channels by l2" if rung else "") + (", int8" if is_int8 else "")
            found.append(Candidate(measures=measures, amount=0.5 * rung, made=made, rung=rung if is_ladder else None))
    config: dict[str, Any] = {"student": {}, "sparsity": {"quantise": quantise}}
    whole = TrialRecord(number=3, config=config, params={}, state="finished", measures={}, candidates=tuple(found))
    return whole.per_candidate()


def test_a_student_is_followed_from_the_whole_network_to_its_int8_file() -> None:
    records = trial(quantise=True)
    found = steps_of(records[3], records, MEASURES, 200)
    assert found is not None
    head, rows = found
    assert head[:3] == ["student", "step", "accuracy, share"]
    assert [row[:2] for row in rows] == [
        ["t0003.0", "whole"], ["t0003.2", "channels by l2"], ["t0003.3", "channels by l2, int8"],
    ]  # fmt: skip
    assert (
        rows[0][2].startswith("0.9500 (0.9") and rows[1][2].endswith(", -2.00 points") and rows[2][2].endswith(", -1.00 points")
    )
    assert rows[1][4] == "500, × 0.50" and rows[2][4] == "500, × 1.00"
    assert [row[5] for row in rows] == ["4,000", "2,000, × 0.50", "500, × 0.25"]
    assert [row[6] for row in rows] == ["not measured", "2", "2, × 1.00"]


@pytest.mark.parametrize(("quantise", "is_ladder", "steps"), [(True, False, 2), (False, True, 2), (False, False, 0)])
def test_steps_are_rungs_and_the_int8_file(quantise: bool, is_ladder: bool, steps: int) -> None:
    records = trial(quantise=quantise, is_ladder=is_ladder)
    found = steps_of(records[-1], records, MEASURES, None)
    assert (len(found[1]) if found else 0) == steps
    if found:
        assert "(" not in found[1][0][2], "no examples, no interval"


def test_a_student_alone_has_no_steps() -> None:
    alone = TrialRecord(number=3, config={}, params={}, state="finished", measures={"accuracy": 0.9})
    assert steps_of(alone, [alone], MEASURES, 100) is None
