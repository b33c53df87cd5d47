from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tutelage.errors import InputError, NoStudentFits
from tutelage.objectives import KNOWN, Limits
from tutelage.record import TrialRecord
from tutelage.selection import POLICIES, knee_distances, policy_summary, select

OBJECTIVES = (KNOWN["accuracy"], replace(KNOWN["params"], reference=1e6))
Make = Callable[..., TrialRecord]


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    rows = [(0.99, 100_000), (0.60, 100), (0.98, 3_000), (0.90, 1_000), (0.95, 50_000), (0.985, 40_000)]
    return [make_record(i, accuracy=a, params=float(p), size_bytes=4.0 * p) for i, (a, p) in enumerate(rows)]


def test_each_policy_takes_its_own(records: list[TrialRecord]) -> None:
    taken = {policy: select(records, OBJECTIVES, policy, Limits()).record.trial_id for policy in POLICIES}
    assert taken == {"max-accuracy": "t0000", "min-size": "t0001", "knee": "t0002"}


def test_limits_narrow_the_choice_before_the_front_is_drawn(records: list[TrialRecord]) -> None:
    found = select(records, OBJECTIVES, "max-accuracy", Limits(max={"size_bytes": 20e3}))
    assert found.record.trial_id == "t0002"
    assert found.runner_up is not None
    assert found.runner_up.trial_id == "t0003"
    assert "size_bytes ≤ 20000" in found.reason
    behind = select(records, OBJECTIVES, "max-accuracy", Limits(max={"accuracy": 0.96}, min={"params": 10_000}))
    assert behind.record.trial_id == "t0004", "it is dominated over all, but not among those that fit"


def test_ties_go_to_the_smaller_then_the_earlier(make_record: Make) -> None:
    equal = [make_record(i, accuracy=0.9, params=p, size_bytes=p) for i, p in ((3, 10.0), (1, 10.0), (2, 20.0))]
    assert select(equal, OBJECTIVES, "max-accuracy", Limits()).record.number == 1
    assert select(equal, OBJECTIVES, "min-size", Limits()).record.number == 1


def test_none_that_fits_names_the_nearest_and_what_it_has(records: list[TrialRecord]) -> None:
    with pytest.raises(NoStudentFits, match=r"t0001, has params 100") as caught:
        select(records, OBJECTIVES, "knee", Limits(max={"params": 50}))
    assert caught.value.exit_code == 4
    with pytest.raises(NoStudentFits, match="latency_ms not measured"):
        select(records, OBJECTIVES, "knee", Limits(max={"latency_ms": 1}))
    with pytest.raises(NoStudentFits, match="no student has finished"):
        select([], OBJECTIVES, "knee", Limits())


def test_failed_and_stopped_students_are_never_taken(make_record: Make) -> None:
    good = make_record(0, accuracy=0.5, params=10.0)
    better = [make_record(i, state=state, accuracy=0.99, params=1.0) for i, state in ((1, "failed"), (2, "stopped"))]
    assert select([*better, good], OBJECTIVES, "max-accuracy", Limits()).record is good


def test_an_unknown_policy_names_the_nearest(records: list[TrialRecord]) -> None:
    with pytest.raises(InputError, match="Did you mean 'max-accuracy'"):
        select(records, OBJECTIVES, "maxaccuracy", Limits())


def test_the_knee_is_the_point_below_the_chord(make_record: Make) -> None:
    """On log10 axes scaled to 1, (0, 1) and (1, 0) lie on the chord and (0, 0) is 1/√2 below it."""
    front = [make_record(i, accuracy=a, params=p) for i, (a, p) in enumerate([(0.9, 1e4), (0.9, 1e2), (0.5, 1e2)])]
    assert knee_distances(front, OBJECTIVES).tolist() == pytest.approx([0, 2**-0.5, 0])


def test_a_front_of_two_has_no_knee_and_says_so(make_record: Make) -> None:
    two = [make_record(0, accuracy=0.9, params=10.0), make_record(1, accuracy=0.8, params=5.0)]
    found = select(two, OBJECTIVES, "knee", Limits())
    assert found.record.number == 0
    assert "no knee" in found.reason


def test_every_policy_says_what_it_is() -> None:
    for policy in POLICIES:
        assert policy_summary(policy).endswith(".")
