"""Confirmation with fresh seeds: which students are trained again, and on which values the selection rests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as students_t

from tutelage.errors import WorkFailed
from tutelage.intervals import wilson_interval
from tutelage.objectives import Limits, objective
from tutelage.records.json_lines import JsonLines
from tutelage.records.reruns import Reruns, Run
from tutelage.records.trial import TrialRecord
from tutelage.selection.confirmation import Confirmation
from tutelage.selection.estimate import ValidationSample, estimates
from tutelage.selection.query import SelectionQuery
from tutelage.storage import open_storage

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))
Make = Callable[..., TrialRecord]
N = 400
ACCURACY = OBJECTIVES[0].measure
SAMPLE = ValidationSample(measure=ACCURACY, count=N, errors={})


def race(
    records: Sequence[TrialRecord], policy: Any = "best-quality", seeds: int = 3, limits: Limits | None = None
) -> Confirmation:
    query = SelectionQuery(policy=policy, objectives=OBJECTIVES, primary=ACCURACY, limits=limits or Limits())
    return Confirmation(query=query, records=records, num_judged=N, seeds=seeds)


def students(make_record: Make, *accuracies: float) -> list[TrialRecord]:
    """Return students of which each is a tenth larger than the one before."""
    return [make_record(i, accuracy=a, params=1000 * 1.1**i) for i, a in enumerate(accuracies)]


def test_an_estimate_combines_students_and_wilsons_intervals() -> None:
    """By hand, for one trial: φ² p̃ q̃ is its own variance, and the squares of both half-widths add up."""
    runs = [0.90, 0.92, 0.94]
    found = estimates({"a": 0.95}, {"a": runs}, SAMPLE)["a"]
    assert found.mean == pytest.approx(0.92)
    assert found.sd == pytest.approx(0.02)
    from_seeds = students_t.ppf(0.975, 2) * 0.02 * np.sqrt(1 + 1 / 3)
    low, high = wilson_interval(368, N)
    assert found.interval is not None and found.bound is not None
    assert found.interval[0] == pytest.approx(0.92 - np.hypot(0.92 - low, from_seeds))
    assert found.interval[1] == pytest.approx(min(1.0, 0.92 + np.hypot(high - 0.92, from_seeds)))
    one_sided = students_t.ppf(0.95, 2) * 0.02 * np.sqrt(1 + 1 / 3)
    assert found.bound == pytest.approx(0.92 - np.hypot(0.92 - wilson_interval(368, N, 0.9)[0], one_sided))


def test_equal_seeds_leave_the_interval_of_the_examples_and_one_seed_has_none() -> None:
    sure = estimates({"a": 0.9}, {"a": [0.9, 0.9, 0.9]}, SAMPLE)["a"]
    assert sure.interval == pytest.approx(wilson_interval(360, N))
    once = estimates({"a": 0.9}, {"a": [0.9]}, SAMPLE)["a"]
    assert (once.interval, once.bound, once.sd) == (None, None, None)
    beside = estimates({"a": 0.9, "b": 0.9}, {"a": [0.9], "b": [0.88, 0.92]}, SAMPLE)["a"]
    assert beside.interval is not None, "how seeds vary is known from another student"
    perfect = estimates({"a": 1.0}, {"a": [1.0, 1.0]}, SAMPLE)["a"]
    assert perfect.interval is not None and perfect.interval[0] < 1.0 == perfect.interval[1]


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=2), st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=1, max_size=5)
)
def test_intervals_contain_their_mean_and_stay_within_0_and_1(fresh: dict[str, list[float]]) -> None:
    for one in estimates(dict.fromkeys(fresh, 0.5), fresh, SAMPLE).values():
        assert one.interval is not None and one.bound is not None
        assert 0 <= one.interval[0] <= one.bound <= one.mean + 1e-12
        assert one.mean <= one.interval[1] + 1e-12 and one.interval[1] <= 1


@pytest.mark.slow
def test_the_interval_covers_one_more_student_at_its_confidence() -> None:
    """4,000 students whose own accuracy varies by 0.02 from seed to seed, each seen by N examples anew."""
    rng, held, total = np.random.default_rng(0), 0, 4000
    for _ in range(total):
        own = np.clip(rng.normal(0.9, 0.02, 4), 0, 1)
        found = estimates({"a": 0.9}, {"a": (rng.binomial(N, own[:3]) / N).tolist()}, SAMPLE)["a"]
        assert found.interval is not None
        held += found.interval[0] <= own[3] <= found.interval[1]
    assert held / total > 0.95 - 3 * np.sqrt(0.05 * 0.95 / total)


def test_students_that_cannot_be_selected_are_not_retrained(make_record: Make) -> None:
    records = students(make_record, 0.80, 0.95, 0.951)
    shares = race(records).chances({})
    assert set(shares) == {"t0001", "t0002"} and sum(shares.values()) == pytest.approx(1)
    assert shares == race(records).chances({}), "the same seed draws the same worlds"
    far = race(students(make_record, 0.60, 0.99))
    assert far.run({}, lambda trials: {trial: [0.99] * 3 for trial in trials}, most=5).keys() == {"t0001"}


def trained_as(true: Mapping[str, float], log: list[list[str]], seeds: int = 3) -> Callable[[Sequence[str]], Any]:
    def train(trials: Sequence[str]) -> dict[str, list[float]]:
        log.append(list(trials))
        return {trial: [true[trial]] * seeds for trial in trials}

    return train


def test_a_student_that_regresses_is_followed_by_the_next(make_record: Make) -> None:
    records = students(make_record, 0.90, 0.93, 0.96)
    log: list[list[str]] = []
    running = race(records)
    fresh = running.run({}, trained_as({"t0000": 0.90, "t0001": 0.93, "t0002": 0.85}, log), most=6)
    assert log[0][0] == "t0002" and "t0001" in fresh
    assert running.cautious(fresh).select(records, among=fresh).record.trial_id == "t0001"


def test_an_unconfirmed_student_has_no_advantage(make_record: Make) -> None:
    """All shrink by 0.05; the third, untouched, must not win by its luck in the search."""
    records = students(make_record, 0.95, 0.94, 0.93)
    running = race(records)
    fresh = {"t0000": [0.90] * 3, "t0001": [0.89] * 3}
    cautious = running.cautious(fresh).estimates
    assert cautious["t0002"] < cautious["t0001"] < cautious["t0000"] < 0.90
    assert records[0].measures["accuracy"] == 0.95, "what the search saw stays"


@pytest.mark.slow
def test_at_most_the_given_number_is_retrained_unless_none_can_be_selected(make_record: Make) -> None:
    records = students(make_record, *np.linspace(0.94, 0.96, 30).tolist())
    log: list[list[str]] = []
    true = {record.trial_id: record.measures["accuracy"] for record in records}
    race(records).run({}, trained_as(true, log), most=2)
    assert sum(map(len, log)) == 2
    log.clear()
    least = race(records, "min-size", limits=Limits(min={"accuracy": 0.92}))
    least.run({}, lambda trials: {t: log.append([t]) or [0.92, 0.935, 0.95] for t in trials}, most=4)  # type: ignore[func-returns-value]
    assert sum(map(len, log)) == 8


def test_recorded_runs_are_not_repeated(make_record: Make) -> None:
    records = students(make_record, 0.90, 0.95)
    log: list[list[str]] = []
    known = {"t0001": [0.95] * 3, "t0000": [0.90] * 3}
    assert race(records).run(known, trained_as({}, log), most=4) == known
    assert log == []


def test_a_bound_on_accuracy_applies_to_the_confidence_bound(make_record: Make) -> None:
    """The lower confidence bound of 0.90 over 400 examples is below 0.89; a larger student is the smallest that meets it."""
    records = students(make_record, 0.90, 0.91, 0.92, 0.95)
    running = race(records, "min-size", limits=Limits(min={"accuracy": 0.89}))
    log: list[list[str]] = []
    fresh = running.run({}, trained_as({record.trial_id: record.measures["accuracy"] for record in records}, log), most=4)
    query = running.cautious(fresh)
    taken = query.select(records, among=fresh).record
    assert taken is records[2], "its record, with the value that the search measured"
    assert query.estimates["t0002"] >= 0.89 > estimates({"a": 0.9}, {"a": [0.91] * 3}, SAMPLE)["a"].bound  # type: ignore[operator]


def test_the_front_is_confirmed_with_students_that_join_it(make_record: Make) -> None:
    """The second is on the front by luck; when it shrinks, the third, of the same size, takes its place."""
    records = [make_record(i, accuracy=a, params=p) for i, (a, p) in enumerate([(0.8, 10.0), (0.95, 50.0), (0.94, 50.0)])]
    log: list[list[str]] = []
    true = {"t0000": 0.8, "t0001": 0.85, "t0002": 0.94}
    fresh = race(records).run_for_front({}, trained_as(true, log))
    assert log == [["t0000", "t0001"], ["t0002"]] and set(fresh) == set(true)


def test_reruns_survive_a_crash_and_a_damaged_line_is_an_error(tmp_path: Any) -> None:
    record = Reruns(JsonLines(open_storage(tmp_path), "reruns.jsonl"))
    assert record.read() == []
    runs = [
        Run(trial="t0001", distilled=taught, seed=seed, value=0.9, elapsed_s=1.0) for taught in (True, False) for seed in (7, 8)
    ]
    for run in runs:
        record.append(run)
    assert record.read() == runs
    assert record.values([7, 9], distilled=True) == {"t0001": {7: 0.9}}
    with record.path.open("a") as file:
        file.write('{"trial": "t00')
    assert record.read() == runs, "a last line cut short says nothing"
    record.append(runs[0])
    assert record.read() == [*runs, runs[0]]
    record.path.write_text("nonsense\n" + record.path.read_text())
    with pytest.raises(WorkFailed, match=r"reruns\.jsonl:1: not a line of this file"):
        record.read()


@pytest.mark.parametrize(
    ("limits", "expected"),
    [(Limits(min={"accuracy": 0.7}), ["t0001", "t0002"]), (Limits(max={"accuracy": 0.7}), ["t0000", "t0001"])],
)
def test_the_front_has_only_students_whose_estimated_quality_meets_its_bounds(
    make_record: Make, limits: Limits, expected: list[str]
) -> None:
    """The search saw 0.5 of all three; what is believed of them is another value."""
    found = race(students(make_record, 0.5, 0.5, 0.5), limits=limits)._front(np.array([0.6, 0.7, 0.8]))
    assert [record.trial_id for record in found] == expected


def test_an_expected_value_stays_within_the_bounds_of_its_measure(make_record: Make) -> None:
    """The others regress by 0.2, which would leave the first below 0."""
    found = race(students(make_record, 0.1, 0.9, 0.95), policy="min-size")
    fresh = {"t0001": [0.7, 0.72], "t0002": [0.74, 0.76]}
    assert found._expected(fresh)[0] == 0.0
    assert np.isfinite(list(found.cautious(fresh).estimates.values())).all()
    assert sum(found.chances(fresh).values()) == pytest.approx(1.0)
