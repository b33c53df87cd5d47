from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import plugins
from tutelage.errors import InputError, NoStudentFits
from tutelage.objectives import Limits, objective
from tutelage.records.fronts import non_dominated
from tutelage.records.trial import TrialRecord
from tutelage.selection.query import SelectionQuery, levels, parse_policy

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))
POLICIES = plugins.names("policies")
Make = Callable[..., TrialRecord]


def ask(policy: Any, **fields: Any) -> SelectionQuery:
    return SelectionQuery(policy=policy, objectives=OBJECTIVES, primary=OBJECTIVES[0].measure, **fields)


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    rows = [(0.99, 100_000, 3.0), (0.60, 100, 2.0), (0.98, 3_000, 2.5), (0.90, 1_000, 1.0), (0.95, 50_000, 0.5)]
    rows.append((0.985, 40_000, 4.0))
    return [
        make_record(i, accuracy=a, params=float(p), size_bytes=4.0 * p, macs=2.0 * p, latency_ms=ms)
        for i, (a, p, ms) in enumerate(rows)
    ]  # fmt: skip


def test_each_policy_selects_its_student(records: list[TrialRecord]) -> None:
    expected = {
        "hypervolume-contribution": largest_contribution(records),
        "knee": "t0002",
        "best-quality": "t0000",
        "min-latency": "t0004",  # dominated in accuracy and size, but the fastest
        "min-size": "t0001",
        "smallest-within": "t0002",  # 0.98 is within 0.01 of 0.99, and a bound itself is met
        "weighted": "t0002",
    }
    assert {policy: ask(policy).select(records).record.trial_id for policy in expected} == expected


def largest_contribution(records: list[TrialRecord]) -> str:
    """By leaving one out, without moocore's own function for it."""
    from tutelage.records.fronts import hypervolume_of

    front = non_dominated(records, OBJECTIVES)
    whole = hypervolume_of(front, OBJECTIVES)
    alone = {one.trial_id: whole - hypervolume_of([r for r in front if r is not one], OBJECTIVES) for one in front}
    return max(alone, key=lambda trial: alone[trial])


def test_the_smallest_within_is_measured_from_the_best_or_the_teacher(records: list[TrialRecord]) -> None:
    def taken(**options: Any) -> str:
        return ask({"smallest-within": options}, teacher={"accuracy": 0.93}).select(records).record.trial_id

    assert [taken(within=w) for w in (0.0, 0.004, 0.01, 0.09, 0.5)] == ["t0000", "t0000", "t0002", "t0003", "t0001"]
    assert taken(of="teacher") == "t0002"
    assert taken(of="teacher", within=0.03) == "t0003"
    with pytest.raises(NoStudentFits, match=r"smallest-within \(of: teacher\) takes none of the 6 students"):
        ask({"smallest-within": {"of": "teacher"}}, teacher={"accuracy": 1.0001}).select(records)


def test_weights_move_the_choice_along_the_front(records: list[TrialRecord]) -> None:
    def taken(**weights: float) -> str:
        return ask({"weighted": {"weights": weights}}).select(records).record.trial_id

    assert taken(accuracy=1, params=0) == "t0000"
    assert taken(accuracy=0, params=1) == "t0001"
    assert taken() == "t0002"
    for wrong, why in (({"latency": 1}, "no objective 'latency' to weigh"), ({"params": -1}, "at least 0")):
        with pytest.raises(InputError, match=why):
            ask({"weighted": {"weights": wrong}}).select(records)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(0.1, 0.99), st.integers(10, 10**6)), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_selects_from_the_front_in_any_order_of_the_records(
    policy: str, rows: list[tuple[float, int]], order: Any
) -> None:
    records = [
        TrialRecord(
            number=i, state="finished", params={}, config={},
            measures={"accuracy": a, "params": float(p), "size_bytes": 4.0 * p, "macs": 2.0 * p, "latency_ms": p / 1e4},
        )
        for i, (a, p) in enumerate(rows)
    ]  # fmt: skip
    found = ask(policy).select(records)
    shuffled = order.sample(records, len(records))
    assert ask(policy).select(shuffled).record == found.record
    assert found.record in non_dominated(records, ask(policy).axes)
    assert found.reason.startswith(f"{policy} takes {found.record.trial_id}: ") and found.reason.endswith(".")


def test_limits_apply_before_the_front_is_computed(records: list[TrialRecord]) -> None:
    found = ask("best-quality", limits=Limits(max={"size_bytes": 20e3})).select(records)
    assert found.record.trial_id == "t0002"
    assert found.runner_up is not None
    assert found.runner_up.trial_id == "t0003"
    assert "size_bytes ≤ 20000" in found.reason
    behind = ask("best-quality", limits=Limits(max={"accuracy": 0.96}, min={"params": 10_000})).select(records)
    assert behind.record.trial_id == "t0004", "it is dominated over all, but not among those that fit"


def test_only_the_named_trials_are_selected_and_all_shape_the_front(records: list[TrialRecord]) -> None:
    assert ask("best-quality").select(records, among=["t0002", "t0003"]).record.trial_id == "t0002"
    within = ask({"smallest-within": {"within": 0.005}})
    with pytest.raises(NoStudentFits):
        within.select(records, among=["t0001"])


def test_ties_go_to_the_smaller_then_the_earlier(make_record: Make) -> None:
    equal = [make_record(i, accuracy=0.9, params=p, size_bytes=p) for i, p in ((3, 10.0), (1, 10.0), (2, 20.0))]
    assert ask("best-quality").select(equal).record.number == 1
    assert ask("min-size").select(equal).record.number == 1


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(0.1, 0.99), st.integers(10, 10**6)), min_size=1, max_size=8),
    copies=st.lists(st.integers(0, 7), min_size=1, max_size=6),
)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_student_is_not_passed_over_because_another_ties_with_it(
    policy: str, rows: list[tuple[float, int]], copies: list[int]
) -> None:
    """Students that are equal to others change neither which one a policy takes nor the order of the others."""

    def record(number: int, row: tuple[float, int]) -> TrialRecord:
        (a, p), measures = row, dict[str, float]()
        measures = {"accuracy": a, "params": float(p), "size_bytes": 4.0 * p, "macs": 2.0 * p, "latency_ms": p / 1e4}
        return TrialRecord(number=number, state="finished", params={}, config={}, measures=measures)

    records = [record(number, row) for number, row in enumerate(rows)]
    equals = [record(len(rows) + number, rows[copy % len(rows)]) for number, copy in enumerate(copies)]
    order = [one.number for one in ask(policy).ranked([*equals, *records]) if one.number < len(rows)]
    assert order == [one.number for one in ask(policy).ranked(records)]
    assert ask(policy).select([*equals, *records]).record.number == order[0]


def test_the_largest_hypervolume_is_that_of_the_student_that_has_an_equal(make_record: Make) -> None:
    best = [make_record(i, accuracy=0.9, params=10.0) for i in (4, 2)]
    others = [make_record(0, accuracy=0.91, params=9e5), make_record(1, accuracy=0.3, params=5.0)]
    assert ask("hypervolume-contribution").select([*others, *best]).record.number == 2


def test_scores_that_differ_by_rounding_are_equal(make_record: Make) -> None:
    """All students of a straight front are at distance 0 from its chord, up to rounding: the most accurate is taken."""
    straight = [make_record(i, accuracy=0.1 + 0.07 * i, params=10.0 ** (0.3 * i)) for i in range(11)]
    assert ask("knee").select(straight).record.number == 10
    assert levels([0.1 + 0.2, 5.0, 0.3, -np.inf, 5.0 + 1e-9]) == [2, 1, 2, 3, 0]
    assert levels([1e-300, 2e-300]) == [1, 0] and levels([]) == [] and levels([-np.inf]) == [0]


def test_candidates_of_one_trial_that_tie_are_taken_in_their_order(make_record: Make) -> None:
    own = [replace(make_record(3, accuracy=0.9, params=10.0), candidate=i) for i in (0, 1)]
    assert [ask("knee").select(some).record.candidate for some in (own, own[::-1])] == [0, 0]


def test_the_error_without_a_fitting_student_names_the_nearest_three(records: list[TrialRecord]) -> None:
    with pytest.raises(NoStudentFits) as caught:
        ask("knee", limits=Limits(max={"params": 50})).select(records)
    assert caught.value.exit_code == 4
    said = str(caught.value)
    assert (
        "The nearest: t0001, which has params 100 (50 too much); t0003, which has params 1,000 (950 too much); t0002," in said
    )
    with pytest.raises(NoStudentFits, match=r"accuracy 0\.99 \(0\.005 too little\)"):
        ask("knee", limits=Limits(min={"accuracy": 0.995})).select(records)
    with pytest.raises(NoStudentFits, match="latency_p90_ms not measured"):
        ask("knee", limits=Limits(max={"latency_p90_ms": 1})).select(records)
    with pytest.raises(NoStudentFits, match="no student has finished"):
        ask("knee").select([])


def test_the_reason_names_the_value_that_a_bound_applies_to(records: list[TrialRecord]) -> None:
    sure = ask("min-size", limits=Limits(min={"accuracy": 0.97}), quality="accuracy for sure")
    assert "with accuracy ≥ 0.97, the accuracy for sure)." in sure.select(records).reason
    with pytest.raises(NoStudentFits, match=r"meets accuracy ≥ 0\.999, the accuracy for sure\. The nearest"):
        replace(sure, limits=Limits(min={"accuracy": 0.999})).select(records)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_goes_by_the_estimates_and_leaves_the_records_as_they_are(policy: str, make_record: Make) -> None:
    rows = [(0.95, 100.0), (0.90, 90.0), (0.80, 10.0)]

    def record(number: int, accuracy: float, size: float) -> TrialRecord:
        return make_record(number, accuracy=accuracy, params=size, size_bytes=4 * size, macs=2 * size, latency_ms=size / 100)

    records = [record(number, *row) for number, row in enumerate(rows)]
    estimates = {"t0000": 0.70, "t0001": 0.85, "t0002": 0.69}
    estimated = [record(number, estimates[f"t{number:04}"], size) for number, (_, size) in enumerate(rows)]
    query = ask(policy, teacher={"accuracy": 0.9}, limits=Limits(min={"accuracy": 0.695}))
    found, expected = replace(query, estimates=estimates).select(records), query.select(estimated)
    assert found.reason == expected.reason and found.record is records[expected.record.number]
    assert found.record.measures["accuracy"] == rows[found.record.number][0]


def test_a_knee_of_three_students_is_that_of_their_estimates(make_record: Make) -> None:
    """By what the search measured the second is far behind the line through the others; by the estimates it is far ahead."""
    rows = [(0.99, 1000.0), (0.51, 100.0), (0.50, 10.0)]
    records = [make_record(number, accuracy=accuracy, params=size) for number, (accuracy, size) in enumerate(rows)]
    query = ask("knee")
    assert query.select(records).record is not records[1]
    assert replace(query, estimates={"t0000": 0.99, "t0001": 0.98, "t0002": 0.50}).select(records).record is records[1]


def test_failed_and_stopped_students_are_never_selected(make_record: Make) -> None:
    good = make_record(0, accuracy=0.5, params=10.0)
    better = [make_record(i, state=state, accuracy=0.99, params=1.0) for i, state in ((1, "failed"), (2, "stopped"))]
    assert ask("best-quality").select([*better, good]).record is good


def test_a_wrong_policy_is_an_error_before_the_selection() -> None:
    with pytest.raises(InputError, match="Did you mean 'best-quality'"):
        ask("bestquality")
    with pytest.raises(InputError, match="within"):
        ask({"smallest-within": {"within": -1}})
    assert parse_policy("knee", []) == "knee"
    assert parse_policy("smallest-within", ["within=0.005", "of=teacher"]) == {
        "smallest-within": {"within": 0.005, "of": "teacher"}
    }
    with pytest.raises(InputError, match="not an option"):
        parse_policy("knee", ["within"])


def test_a_users_function_is_a_policy(records: list[TrialRecord], user_module: Callable[[str, str], None]) -> None:
    user_module(
        "own_policies",
        '''
def per_byte(front):
    """Accuracy a byte."""
    return [one["accuracy"] / one["size_bytes"] for one in front]

def broken(front):
    return [one["no_such"] for one in front]

def short(front):
    return [1.0]
''',
    )
    assert ask("own_policies:per_byte").select(records).record.trial_id == "t0001"
    assert plugins.summary("policies", "own_policies:per_byte") == "Accuracy a byte."
    with pytest.raises(InputError, match="on a front of 5 fails: KeyError"):
        ask("own_policies:broken").select(records)
    with pytest.raises(InputError, match="must return one number for each of 5 students"):
        ask("own_policies:short").select(records)


def test_a_front_of_two_has_no_knee_and_the_error_has_the_reason(make_record: Make) -> None:
    two = [make_record(0, accuracy=0.9, params=10.0), make_record(1, accuracy=0.8, params=5.0)]
    found = ask("knee").select(two)
    assert found.record.number == 0
    assert "no knee" in found.reason


def test_students_with_equal_scores_are_ordered_by_quality_then_size_then_number(
    make_record: Make, user_module: Callable[[str, str], None]
) -> None:
    user_module("equal_policy", "def scores(front):\n    return [1.0] * len(front)\n")
    rows = [(0.8, 50.0, 5.0), (0.9, 100.0, 9.0), (0.9, 90.0, 9.0), (0.9, 90.0, 9.0)]
    records = [make_record(i, accuracy=a, params=p, macs=m) for i, (a, p, m) in enumerate(rows)]
    query = replace(ask("equal_policy:scores"), objectives=(objective("accuracy"), replace(objective("macs"), reference=1e6)))
    assert [record.trial_id for record in query.ranked(records)] == ["t0002", "t0003", "t0001", "t0000"]


def test_a_student_is_judged_by_objectives_limits_and_the_policys_own_measures() -> None:
    limits = Limits(max={"size_bytes": 1.0}, min={"agreement": 0.5})
    assert ask("min-latency", limits=limits).measures == {"accuracy", "params", "size_bytes", "agreement", "latency_ms"}


@pytest.mark.parametrize(("name", "words"), [
    ("RaisingPolicy", "on a front of 5 fails: ZeroDivisionError: on purpose"), ("LeavingPolicy", "fails: SystemExit: 3"),
    ("FewScores", "must return one number for each of 5 students"), ("NanScores", "must return one number"),
    ("WordScores", "fails: ValueError"), ("RaisingReason", "reason fails: ZeroDivisionError"),
])  # fmt: skip
def test_a_wrong_policy_of_the_users_own_is_an_error_that_names_it(
    records: list[TrialRecord], name: str, words: str
) -> None:  # fmt: skip
    with pytest.raises(InputError) as caught:
        ask(f"tests.wrong_plugins:{name}").select(records)
    assert words in str(caught.value) and f"tests.wrong_plugins:{name}" in str(caught.value)


def test_a_policy_that_changes_measures_does_not_change_the_records(records: list[TrialRecord]) -> None:
    before = [dict(record.measures) for record in records]
    ask("tests.wrong_plugins:Emptying").select(records)
    assert [record.measures for record in records] == before
