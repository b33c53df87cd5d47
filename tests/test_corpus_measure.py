"""A measure unlike accuracy: lower is better, it may exceed 1, and it is one of a corpus. The whole package derives from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.rule_contexts import rule_context
from tutelage import intervals, plugins
from tutelage.measure import Measure, standard_error_of
from tutelage.objectives import Limits, Objective, even_losses, even_reference, objective, reference_losses
from tutelage.records import mlflow_format, mlflow_views, sweeps
from tutelage.records.sweep_dir import measures_in
from tutelage.records.trial import Sizes, Suggestion, TrialRecord
from tutelage.report import figures, sweep_page
from tutelage.search import recorded_table, replay
from tutelage.search.promotion import Promotion
from tutelage.search.rules import RuleJudge
from tutelage.search.rules.dominance import Config, Dominance, Gains, build
from tutelage.search.rules.promotion import PromotionJudge
from tutelage.search.sampler import Sampler
from tutelage.search.size_aware import SizeAware
from tutelage.search.suggest import Callbacks, Goal, Suggester, size_losses
from tutelage.selection import capacity_gap, comparison
from tutelage.selection.confirmation import Confirmation
from tutelage.selection.estimate import ValidationSample, estimates
from tutelage.selection.query import SelectionQuery
from tutelage.selection.test_split import score
from tutelage.spec.distributions import parse
from tutelage.spec.space import Space


def errors_a_character(contributions: Any) -> float:
    """Return all errors over all characters, of `[n, 2]`."""
    errors, characters = np.asarray(contributions, dtype=np.float64).sum(axis=0)
    return float(errors / characters) if characters else math.nan


CER = Measure(
    name="cer", label="character error rate", unit="errors a character", direction="minimise", low=0.0, available="each_epoch",
    meaning="errors over characters of all examples together", spread="corpus", aggregate=errors_a_character,
)  # fmt: skip
OBJECTIVES = (Objective(measure=CER, reference=2.5), replace(objective("params"), reference=1e6))
MEASURES = {"cer": CER, **measures_in({})}
SE = standard_error_of(CER)
Make = Callable[..., TrialRecord]


def lines(seed: int, rate: float = 1.2, n: int = 200) -> Any:
    """Return the errors and characters of n lines of 0 to 40 characters, some of them empty."""
    generator = np.random.default_rng(seed)
    characters = generator.integers(0, 40, n)
    return np.column_stack([generator.poisson(rate * characters), characters]).astype(np.float64)


def test_losses_and_references_are_lower_where_fewer_errors_are() -> None:
    assert even_losses({"cer": 1.7, "params": 100.0}, OBJECTIVES).tolist() == [1.7, 2.0]
    assert even_reference(OBJECTIVES, "cer").tolist() == [6.0, 2.5]
    assert reference_losses(OBJECTIVES).tolist() == [2.5, 1e6]


@pytest.mark.slow
def test_the_interval_is_a_bootstrap_over_examples_and_covers() -> None:
    held = 0
    for seed in range(200):
        found = intervals.interval(CER, lines(seed), seed)
        assert found is not None
        held += found[0] <= 1.2 <= found[1]
    assert 0.90 <= held / 200 <= 0.98
    assert intervals.interval(CER, lines(0), 3) == intervals.interval(CER, lines(0), 3), "seeded"


def test_steps_of_one_example_are_not_independent() -> None:
    """Ten lines with all their errors in one: over lines the interval is far wider than over characters."""
    uneven = np.array([[100.0, 100.0]] + [[0.0, 100.0]] * 9)
    low, high = intervals.interval(CER, uneven) or (0.1, 0.1)
    over_characters = intervals.wilson_interval(100, 1000)
    assert high - low > 4 * (over_characters[1] - over_characters[0])


def test_a_paired_gain_is_positive_where_fewer_errors_are_and_pairing_narrows_it() -> None:
    worse = lines(1)
    better = worse - [0.5, 0.0] * (worse > 0)
    gain, low, high = intervals.paired_gain(CER, better, worse)
    assert 0 < low <= gain <= high
    back = intervals.paired_gain(CER, worse, better)
    assert back == pytest.approx((-gain, -high, -low))
    alone = intervals.interval(CER, worse) or (0, 0)
    assert high - low < (alone[1] - alone[0]) / 3


def test_the_standard_error_is_that_of_the_interval_and_empty_examples_are_no_nan() -> None:
    error = intervals.standard_error(CER, lines(0))
    low, high = intervals.interval(CER, lines(0)) or (0, 0)
    assert 2 * 1.96 * error == pytest.approx(high - low, rel=0.25)
    empty = np.zeros((5, 2))
    assert intervals.interval(CER, np.vstack([empty, [[1.0, 2.0]]])) is not None
    assert math.isfinite(intervals.standard_error(CER, empty))


def test_gains_of_any_magnitude_have_the_same_quantiles_but_for_their_unit() -> None:
    gains = np.random.default_rng(0).normal(0.1, 1.0, 5000)
    for unit in (1e-6, 1.0, 1e4):
        histogram = Gains(None)
        histogram.add(gains * unit)
        for confidence in (0.1, 0.5, 0.9):
            expected = float(np.quantile(gains, confidence)) * unit
            assert histogram.quantile(confidence) == pytest.approx(expected, rel=0.06, abs=0.02 * unit)
    assert Gains(None).quantile(0.9) == 0.0


def row(epoch: int, cer: float, error: float | None = None) -> dict[str, float]:
    found = {"epoch": float(epoch), "train_loss": 1.0, "cer": cer, "step_s": 0.1}
    return found if error is None else {**found, SE: error}


def test_dominance_stops_by_a_rate_above_1_and_heeds_its_standard_error(make_record: Make) -> None:
    def judged(error: float | None) -> str:
        judge = build(Config(), rule_context(rungs=(1,), objectives=OBJECTIVES, primary=CER, num_validation=100))
        assert isinstance(judge, RuleJudge) and isinstance(judge._rule, Dominance)
        assert judge._rule.num_judged is None and judge._rule.span is None
        for number in range(8):
            made = make_record(number, cer=1.2 + number / 100, params=100.0 + number)
            judge.learn(replace(made, curve=(row(1, 1.4 + number / 100), row(2, 1.2))))
        small = Suggestion(number=8, config={}, params={}, sizes={"params": 10.0})
        large = Suggestion(number=9, config={}, params={}, sizes={"params": 200.0})
        assert judge.judge(small, row(1, 1.4, error)) == "continue"
        return judge.judge(large, row(1, 1.9, error))

    assert judged(None) == judged(0.05) == "stop"
    assert judged(1.0) == "continue", "within its noise"


def test_promotion_pauses_and_goes_on_with_rates_above_1(make_record: Make) -> None:
    space = Space(parse({"n": {"int": [0, 99]}}))
    rule = Promotion(rungs=(1,), max_epochs=3, share=0.9, num_students=40, startup=5, worst=2.5, least_gain=0.0)
    judge = PromotionJudge(rule, rule_context(objectives=OBJECTIVES, primary=CER, space=space))
    for number in range(20):
        drawn = Suggestion(number=number, config={}, params={"n": number}, sizes={"params": 10.0 + number})
        paused = judge.judge(drawn, row(1, 2.0 - number / 20))
        assert paused == ("continue" if number < 5 else "pause")
        if number < 5:
            made = make_record(number, cer=1.9 - number / 20, params=10.0 + number)
            judge.learn(replace(made, params={"n": number}, sizes={"params": 10.0 + number}))
        else:
            judge.learn(drawn.record("paused"))
    promoted = judge.promoted(is_last=False)
    assert promoted is not None and promoted.number >= 5


def test_size_aware_learns_a_rate_above_1() -> None:
    space = Space(parse({"n": {"int": [1, 500]}}))

    def sizes(params: Any) -> Any:
        return size_losses({"params": float(params["n"])}, OBJECTIVES, CER)

    chooser = SizeAware(space, sizes, 0, even_reference(OBJECTIVES, "cer"), 2.5)
    for number, n in enumerate((1, 10, 50, 100, 200, 300, 400)):
        chooser.started(number, {"n": n}, sizes({"n": n}))
        chooser.finished(number, 2.0 / math.sqrt(n) + 1.0)
    proposed = chooser.suggest(7)
    assert proposed is not None and 1 <= proposed["n"] <= 500


def test_the_sampler_gets_rates_unchanged(make_record: Make) -> None:
    space = Space(parse({"n": {"int": [1, 9]}}))
    sampler = Sampler(space, 2, "tpe", 0, (1,))
    told: list[Any] = []
    sampler.observe = lambda number, rung, losses: told.append((rung, list(losses)))  # type: ignore[method-assign]
    callbacks = Callbacks(presize=lambda config: Sizes(final={"params": 100.0}), on_started=told.append, on_ended=told.append)
    asked = Suggester(sampler, Goal(objectives=OBJECTIVES, limits=Limits(), learned=CER), callbacks, 5)
    suggestion = asked.next()
    assert suggestion is not None
    told.clear()
    asked.observe(suggestion, row(1, 1.7))
    assert told == [(1, [1.7, 2.0])]


def test_a_sweep_is_replayed_by_its_own_measure(make_record: Make) -> None:
    space = Space(parse({"n": {"int": [0, 9]}}))
    records = [
        replace(
            make_record(n, cer=2.0 - n / 10, params=10.0 + n), params={"n": n}, step_s=1.0,
            curve=tuple(row(epoch, 2.4 - n / 10 - epoch / 10) for epoch in (1, 2, 3, 4)),
        )
        for n in range(10)
    ]  # fmt: skip
    table = recorded_table.recorded(records, OBJECTIVES, space, CER)
    assert table.errors[0, 0].tolist() == pytest.approx([2.3, 2.2, 2.1, 2.0])
    assert table.ends[0].tolist() == pytest.approx([1.0, 2.0])
    for rule in (None, Dominance(num_judged=None, span=None), Promotion(rungs=(1,), max_epochs=4, share=0.6, worst=2.5)):
        found = replay.judged(table, replay.replay(table, rule, (1,), range(10), replay.Cluster()))
        assert 0 < found["hypervolume"] <= 1 and found["finished"] >= 1


def students(make_record: Make, *rates: float, **more: float) -> list[TrialRecord]:
    return [make_record(i, cer=rate, params=1000 * 1.1**i, **more) for i, rate in enumerate(rates)]


def test_estimates_have_finite_intervals_of_seeds_and_examples() -> None:
    runs = [1.60, 1.70, 1.80]
    known = ValidationSample(measure=CER, count=100, errors={"a": 0.2})
    wide = estimates({"a": 1.5}, {"a": runs}, known)["a"]
    narrow = estimates({"a": 1.5}, {"a": runs}, ValidationSample(measure=CER, count=100, errors={}))["a"]
    assert wide.interval is not None and narrow.interval is not None and narrow.bound is not None
    assert wide.interval[0] < narrow.interval[0] < 1.7 < narrow.interval[1] < wide.interval[1]
    assert 1.7 < narrow.bound < narrow.interval[1], "the worse side is the upper one"
    near_zero = estimates({"a": 0.1}, {"a": [0.0, 0.2]}, ValidationSample(measure=CER, count=100, errors={}))["a"]
    assert near_zero.interval is not None and near_zero.interval[0] == 0.0, "no rate is below 0"


def test_the_policy_takes_the_lowest_rate_for_sure_and_the_lucky_regress(make_record: Make) -> None:
    records = students(make_record, 1.5, 1.2, 1.1, **{SE: 0.1})
    query = SelectionQuery(policy="best-quality", objectives=OBJECTIVES, primary=CER, limits=Limits(max={"cer": 2.0}))
    race = Confirmation(query=query, records=records, num_judged=100, seeds=3)
    true = {"t0000": [1.5, 1.52, 1.48], "t0001": [1.2, 1.22, 1.18], "t0002": [1.6, 1.62, 1.58]}
    fresh = race.run({}, lambda trials: {trial: true[trial] for trial in trials}, most=6)
    cautious = race.cautious(fresh).estimates
    assert all(map(math.isfinite, cautious.values())) and cautious["t0001"] > 1.2
    found = race.cautious(fresh).select(records, among=fresh)
    assert found.record.trial_id == "t0001" and "best of" in found.reason
    for policy in plugins.names("policies"):
        if policy != "min-latency":
            assert replace(query, policy=policy, teacher={"cer": 1.0}).ranked(records) or policy == "smallest-within"
    within = replace(query, policy={"smallest-within": {"within": 0.45}}).select(records)
    assert within.record.trial_id == "t0000", "0.4 above the best"


def test_words_of_a_selection_are_of_the_measure() -> None:
    scored = score([CER], {"cer": lines(0)}, 0)
    assert scored["n"] == 200 and scored["interval"][0] < scored["value"] < scored["interval"][1]
    gain = {"difference": 0.2, "low": 0.1, "high": 0.3}
    said = comparison.of_distillation(CER, {"seeds": 0, "gain": None}, {"gain_over_label_only": gain})
    assert "+0.2000 errors a character (+0.1000 to +0.3000)" in said
    takes, why = comparison.of_promotion(CER, gain, 100.0, 100.0, 0.01, "m 1")
    assert takes and "better than the champion" in why
    luck = comparison.of_regression(CER, 1.1, {"seeds": 3, "mean": 1.3, "interval": (1.2, 1.4)})
    assert luck and "+0.2000 errors a character" in luck and "1.2000 to 1.4000" in luck


def test_a_capacity_gap_is_a_lower_rate(make_record: Make, tmp_path: Path) -> None:

    own = make_record(0, cer=1.5, params=1000.0, **{SE: 0.05})
    for name, teacher, record in (("large", 1e4, own), ("small", 5e3, make_record(1, cer=1.2, params=900.0, **{SE: 0.05}))):
        home = sweeps.create(tmp_path, name, "")
        home.update(fingerprint="d", teacher={"params": teacher, "cer": 1.0})
        home.ledger.append(record)
    said = capacity_gap.found(sweeps.sweep_at(tmp_path, "large"), own, CER, 100)
    assert said and "character error rate 1.2000" in said and "nan" not in said


def test_mlflow_shows_every_measure_and_draws_the_primary_one() -> None:
    measures = {"cer": 1.7, SE: 0.1, "params": 100.0, "slot_f1": 0.8, "agreement": 0.9}
    found = mlflow_format.fit_measures(measures, MEASURES)
    assert found["quality/cer"] == 1.7 and found["quality/slot_f1"] == 0.8 and found[f"quality/{SE}"] == 0.1
    assert len(found) == len(measures) + 1, "log10 of params beside them"
    curve = mlflow_format.fit_curve([{**row(1, 1.7), "slot_f1": 0.8}])
    assert {key for key, _, _ in curve} == {"train/train_loss", "train/cer", "train/slot_f1"}
    charts = mlflow_views._charts(["student.model"], CER)
    assert charts["orderByKey"] == "metrics.`quality/cer`" and charts["orderByAsc"] is True
    assert charts["compareRunCharts"][0]["yaxis"]["key"] == "quality/cer"


def test_the_report_is_of_the_measure(make_record: Make) -> None:
    fresh = {"confirmed_mean": 1.3, "confirmed_low": 1.1, "confirmed_high": 1.6, "confirmed_seeds": 3.0}
    records = students(make_record, 1.5, 1.2, 1.1, **fresh)
    stopped = replace(make_record(9, "stopped"), curve=(row(1, 2.2),))
    sweep = sweep_page.Sweep(
        name="s", spec_yaml="", objectives=OBJECTIVES, measures=MEASURES, records=[*records, stopped], candidates=records,
        teacher={"cer": 0.9, "params": 1e5}, selection=None, environment={}, elapsed_s=1.0,
    )  # fmt: skip
    page = sweep_page.page(sweep)
    for part in (
        "teacher&#x27;s character error rate", "0.9000 errors a character", "<td>2.2000</td>", "<td>1.1000 to 1.6000</td>",
        "errors over characters of all examples together", "bootstrap interval over examples",
    ):  # fmt: skip
        assert part in page, part
    assert "accuracy" not in page.split("</script>")[-1]
    figure = figures.front_figure(records, OBJECTIVES, {"cer": 0.9, "params": 1e5}, CER)
    assert figure.layout.yaxis.title.text == "character error rate (errors a character)"
    assert any("fresh seeds" in trace.name for trace in figure.data)
    assert figures.front_png(records, OBJECTIVES, {"cer": 0.9, "params": 1e5}, CER).startswith(b"\x89PNG")
