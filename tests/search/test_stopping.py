"""Early stopping: the decisions of a sweep's rule, and a recorded table replayed with a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.search.rule_contexts import rule_context
from tutelage import objectives
from tutelage.errors import InputError
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search import arrivals, recorded_table, replay
from tutelage.search.gaussian_process import Array
from tutelage.search.promotion import Promotion
from tutelage.search.rules import RuleJudge, mo_asha
from tutelage.search.rules.dominance import Dominance
from tutelage.search.rules.mo_asha import BracketedJudge
from tutelage.search.rules.promotion import PromotionJudge
from tutelage.search.sampler import Sampler
from tutelage.spec.distributions import parse
from tutelage.spec.search_sections import StoppingConfig
from tutelage.spec.space import Space

ASKED = [objectives.objective("params"), objectives.objective("accuracy")]
ACCURACY = ASKED[1].measure


class Heard:
    """A rule that records what it gets."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[float], float]] = []
        self.ends: list[tuple[list[float], dict[int, float], float]] = []

    def stops(self, rung: int, known: Array, error: float, variance: float | None = None) -> bool:
        self.asked.append((rung, known.tolist(), pytest.approx(error)))
        return True

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        self.ends.append((known.tolist(), dict(errors), last))


def test_rungs_are_a_factor_apart_and_end_before_the_last_epoch() -> None:
    assert StoppingConfig().rungs(27) == (1, 3, 9)
    assert StoppingConfig().rungs(28) == (1, 3, 9, 27)
    assert StoppingConfig(first_epoch=4, factor=2).rungs(20) == (4, 8, 16)
    assert StoppingConfig(first_epoch=5).rungs(5) == ()


def bracketed(num_brackets: int, seed: int = 0) -> tuple[BracketedJudge, list[Heard]]:
    rules = [Heard() for _ in range(num_brackets)]
    brackets = [RuleJudge(rule, rule_context(), (1, 3, 9)[first:]) for first, rule in enumerate(rules)]
    return BracketedJudge(brackets, factor=3, seed=seed), rules


def test_each_bracket_starts_a_rung_later() -> None:
    judge = mo_asha.build(mo_asha.Config(brackets=9), rule_context())
    assert isinstance(judge, BracketedJudge)
    assert [one.rungs for one in judge._brackets] == [{1, 3, 9}, {3, 9}, {9}, set()]
    assert judge.rungs == {1, 3, 9}


def test_a_bracket_decides_from_its_first_rung_on_and_only_for_its_own_trials() -> None:
    judge, rules = bracketed(4)
    for number in range(200):
        for epoch in (1, 3, 9):
            drawn = Suggestion(number=number, config={}, params={}, sizes={"params": float(number)})
            verdict = judge.judge(drawn, {"epoch": epoch, "accuracy": 0.5})
            is_judged = epoch in judge.bracket_of(number).rungs
            assert verdict == ("stop" if is_judged else "continue")
    asked = [{rung for rung, _, _ in rule.asked} for rule in rules]
    assert asked == [{1, 3, 9}, {3, 9}, {9}, set()]
    own = [{number for _, (number,), _ in rule.asked} for rule in rules]
    assert not any(left & right for i, left in enumerate(own) for right in own[i + 1 :])


def test_brackets_are_drawn_in_hyperbands_shares_by_seed_and_number() -> None:
    """Of 3 rungs: 1/4, 1/3 / 3, 1/2 / 9, 1 / 27, in all 0.45; 27/49.5 of the trials in the first bracket, and so on."""
    judge, _ = bracketed(4)
    brackets = [judge.bracket_of(number) for number in range(4000)]
    shares = np.array([sum(one is bracket for one in brackets) for bracket in judge._brackets]) / 4000
    expected = np.array([1 / 4, 1 / 9, 1 / 18, 1 / 27])
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=4 * np.sqrt(0.25 / 4000))
    again, _ = bracketed(4)
    places = [judge._brackets.index(one) for one in brackets[:50]]
    assert [again._brackets.index(again.bracket_of(number)) for number in range(50)] == places
    other, _ = bracketed(4, seed=1)
    assert [other._brackets.index(other.bracket_of(number)) for number in range(50)] != places


def test_a_bracket_learns_from_its_own_finished_trials(make_record: Callable[..., TrialRecord]) -> None:
    judge, rules = bracketed(2)
    records = [
        replace(make_record(number, accuracy=0.5, params=10.0), curve=({"epoch": 3.0, "accuracy": 0.4},))
        for number in range(20)
    ]
    judge.resume(records)
    ends = [len(rule.ends) for rule in rules]
    assert sum(ends) == 20 and ends == [sum(judge.bracket_of(n) is one for n in range(20)) for one in judge._brackets]


def test_a_rule_gets_losses_and_learns_from_finished_trials_only(make_record: Callable[..., TrialRecord]) -> None:
    rule = Heard()
    stopping = RuleJudge(rule, rule_context(rungs=(1, 3)))
    row = {"epoch": 3, "accuracy": 0.75}
    assert stopping.judge(Suggestion(number=0, config={}, params={}, sizes={"params": 10.0}), row) == "stop"
    assert rule.asked == [(3, [10.0], 0.25)]
    assert stopping.judge(Suggestion(number=1, config={}, params={}), row) == "continue", "training decides its size"
    curve = tuple({"epoch": float(e), "accuracy": e / 10} for e in (1, 2, 3, 4))
    ended = replace(make_record(0, accuracy=0.5, params=10.0), curve=curve)
    stopping.learn(ended)
    stopping.learn(replace(ended, state="stopped", measures={}))
    stopping.learn(replace(ended, state="failed"))
    assert rule.ends == [([10.0], {1: 0.9, 3: 0.7}, 0.5)]


def table(count: int = 30, epochs: int = 9, seed: int = 0, seeds: int = 1) -> recorded_table.Table:
    """Students with equal learning curves, of which larger ones end better; over seeds the error varies by a twentieth."""
    generator = np.random.default_rng(seed)
    sizes, luck = generator.uniform(1, 4, count), generator.uniform(0, 0.3, count)
    ends = 0.5 / sizes + luck
    curves = np.minimum(1.0, ends[:, None] * (1 + 1 / np.arange(1, epochs + 1)))
    errors = curves[:, None] * generator.uniform(0.95, 1.05, (count, seeds, 1)) if seeds > 1 else curves[:, None]
    known = 10 ** sizes[:, None]
    return recorded_table.Table(known=known, whole=known, traits=luck[:, None], errors=errors, epoch_s=np.full(count, 2.0))


def test_without_a_rule_all_students_are_trained_and_the_clock_is_the_sum_of_their_times() -> None:
    known = table()
    one = replay.replay(known, None, (1, 3), range(30), replay.Cluster(workers=1))
    assert one.finished == tuple(range(30)) and one.epochs == 30 * 9 == one.spent[-1]
    assert one.elapsed_s == pytest.approx(30 * 9 * 2.0) and one.busy_share == pytest.approx(1)
    two = replay.replay(known, None, (1, 3), range(30), replay.Cluster(workers=2, start_s=1.0))
    assert two.elapsed_s == pytest.approx(15 * (9 * 2.0 + 1.0)) and two.busy_share == pytest.approx(18 / 19)
    assert replay.judged(known, two) == {"epochs": 1.0, "hypervolume": 1.0, "front": 1.0, "finished": 30}
    uneven = replay.replay(known, None, (1, 3), range(4), replay.Cluster(workers=2, slowest=3.0))
    assert uneven.elapsed_s == pytest.approx(3 * 9 * 2.0), "the fast worker trains three while the slow one trains one"
    lossy = replay.replay(known, None, (1, 3), range(30), replay.Cluster(loss_share=0.2))
    assert sorted(lossy.finished) == list(range(30)) and lossy.epochs > 30 * 9
    assert replay.hypervolume_after(known, one)[-1] == pytest.approx(1.0)


def test_dominance_keeps_the_front_and_saves_epochs_where_the_order_at_a_rung_is_final() -> None:
    known = table(300)
    rule = Dominance(num_judged=10**9)
    found = replay.judged(known, replay.replay(known, rule, (1, 3), range(300), replay.Cluster()))
    assert found["hypervolume"] == pytest.approx(1.0, abs=2e-3) and found["epochs"] < 0.4


@pytest.mark.slow
def test_promotion_keeps_to_its_share_and_reaches_the_front() -> None:
    known = table(200, epochs=27, seeds=3)
    rule = Promotion(rungs=(1, 3, 9), max_epochs=27, share=0.2, num_students=200)
    found = replay.judged(known, replay.replay(known, rule, (1, 3, 9), range(200), replay.Cluster()))
    assert found["epochs"] <= 0.2 + 27 / (200 * 27) and found["hypervolume"] > 0.98


def test_a_thousand_workers_are_kept_busy() -> None:
    known = table(20_000, 9)
    found = replay.replay(known, None, (1, 3), range(20_000), replay.Cluster(workers=1000))
    assert found.busy_share > 0.95


def test_a_sampler_gets_the_result_of_the_nearest_student_for_every_suggestion(tmp_path: Path) -> None:
    space = Space(parse({"luck": {"float": [0.0, 1.0]}}))
    known = table(50)
    sampler = Sampler(space, 2, "tpe", 0, rungs=[1, 3], journal=tmp_path / "study.journal")
    rule = Dominance(num_judged=100)
    found = replay.replay(known, rule, (1, 3), arrivals.Sampled(sampler, space, known, 40), replay.Cluster())
    assert found.num_trials == 40 and 0 < len(found.finished) < 40
    assert known.nearest(known.traits[7]) == 7


def test_a_table_is_read_as_it_was_recorded(make_record: Callable[..., TrialRecord], tmp_path: Path) -> None:
    space = Space(parse({"n": {"int": [0, 4]}}))

    def record(number: int, epochs: int) -> TrialRecord:
        curve = tuple({"epoch": float(e + 1), "accuracy": e / 8, "step_s": 1.0} for e in range(epochs))
        made = make_record(number, accuracy=(epochs - 1) / 8, params=float(number))
        return replace(made, curve=curve, step_s=2.0 * epochs, params={"n": number}, initial_sizes={"params": 9.0})

    found = recorded_table.recorded(
        [record(1, 4), record(2, 3), record(3, 4), make_record(4, state="failed")], ASKED, space, ACCURACY
    )
    assert found.known.tolist() == [[1.0], [3.0]] and found.whole.tolist() == [[9.0], [9.0]]
    assert found.errors[0].tolist() == [[1.0, 0.875, 0.75, 0.625]] and found.traits.tolist() == [[0.25], [0.75]]
    with pytest.raises(InputError, match="nothing to replay"):
        recorded_table.recorded([], ASKED, space, ACCURACY)
    lines = [
        {"config": c, "seed": s, "config.n": c, "params": 5.0 + c, "whole_params": 7.0, "epoch_s": 0.5, "error_1": 0.5,
         "error_2": 0.25 + s / 8, "error_10": 0.125}
        for c, s in ((0, 0), (0, 1), (4, 0), (4, 1), (2, 0))
    ]  # fmt: skip
    pd.DataFrame(lines).to_parquet(tmp_path / "table.parquet")
    read = recorded_table.read(tmp_path / "table.parquet", space)
    assert read.known.tolist() == [[5.0], [9.0]], "a config that lacks a seed is left out"
    assert read.errors.tolist() == [[[0.5, 0.25, 0.125], [0.5, 0.375, 0.125]]] * 2
    assert read.traits.tolist() == [[0.0], [1.0]] and read.max_epochs == 3


def judge_of(startup: int = 5) -> PromotionJudge:
    rule = Promotion(rungs=(1,), max_epochs=3, share=0.9, num_students=30, startup=startup)
    return PromotionJudge(rule, rule_context(space=Space(parse({"n": {"int": [0, 4]}}))))


def ended(make_record: Callable[..., TrialRecord], number: int, state: str, size: float, error: float = 0.5) -> TrialRecord:
    """Return a trial with one epoch on record."""
    row = {"epoch": 1.0, "accuracy": 1 - error, "train_loss": 1.0, "step_s": 1.0}
    measures = {"accuracy": 0.6 + number / 100, "params": size} if state == "finished" else {}
    return replace(make_record(number, state, **measures), curve=(row,), sizes={"params": size}, params={"n": number % 5})


def test_a_trial_that_ran_when_the_driver_died_is_not_promoted_again(make_record: Callable[..., TrialRecord]) -> None:
    """It is trained on as what had begun; of all that wait it would be the best."""
    finished = [ended(make_record, number, "finished", 10.0 + number) for number in range(5)]
    waiting = [ended(make_record, number, "paused", 12.0 + number) for number in range(7, 20)]
    judge = judge_of()
    judge.resume([*finished, ended(make_record, 6, "running", 5.0, error=0.2), *waiting])
    again = judge.promoted(is_last=True)
    assert again and again.number >= 7
    judge = judge_of()
    judge.resume([*finished, ended(make_record, 6, "paused", 5.0, error=0.2), *waiting])
    assert (again := judge.promoted(is_last=True)) and again.number == 6


@pytest.mark.parametrize(("num_waiting", "is_promoted"), [(9, False), (10, True)])
def test_a_trial_that_ran_when_the_driver_died_does_not_count_as_paused(
    num_waiting: int, is_promoted: bool, make_record: Callable[..., TrialRecord]
) -> None:
    """While new trials can be suggested, ten paused ones are compared before one of them is promoted."""
    judge = judge_of()
    finished = [ended(make_record, number, "finished", 10.0 + number) for number in range(5)]
    waiting = [ended(make_record, number, "paused", 5.0, error=0.2) for number in range(7, 7 + num_waiting)]
    judge.resume([*finished, ended(make_record, 6, "running", 5.0, error=0.2), *waiting])
    assert (judge.promoted(is_last=False) is not None) == is_promoted


def test_a_trial_that_pauses_is_promoted_only_after_it_has_left_its_worker(make_record: Callable[..., TrialRecord]) -> None:
    """Its state is written in between; a search that has a free worker then must not train it a second time."""
    judge = judge_of()
    judge.resume([ended(make_record, number, "finished", 10.0 + number) for number in range(5)])
    pausing = ended(make_record, 6, "running", 5.0, error=0.2)
    assert judge.judge(pausing, pausing.curve[0]) == "pause"
    assert judge.promoted(is_last=True) is None
    judge.learn(replace(pausing, state="paused"))
    assert (again := judge.promoted(is_last=True)) and again.number == 6


def test_a_paused_trial_stays_paused_though_the_resumed_search_sees_it_first(make_record: Callable[..., TrialRecord]) -> None:
    """The first to reach a rung are never paused; from the ledger the trials come by number."""
    finished = [ended(make_record, number, "finished", 10.0 + number) for number in range(1, 6)]
    judge = judge_of()
    judge.resume([ended(make_record, 0, "paused", 5.0, error=0.2), *finished])
    assert (again := judge.promoted(is_last=True)) and again.number == 0
    assert judge.promoted(is_last=True) is None


def test_a_resumed_search_restores_the_paused_students(make_record: Callable[..., TrialRecord]) -> None:
    """The decisions are the same for trials that were seen live and for trials that were read from the ledger."""
    space = Space(parse({"n": {"int": [0, 4]}}))

    def fresh() -> PromotionJudge:
        rule = Promotion(rungs=(1,), max_epochs=3, share=0.9, num_students=30, startup=5)
        return PromotionJudge(rule, rule_context(space=space))

    row = {"epoch": 1.0, "accuracy": 0.5, "train_loss": 1.0, "step_s": 1.0}
    records = []
    for number in range(20):
        state = "finished" if number < 5 else "stopped" if number == 5 else "running" if number == 6 else "paused"
        made = make_record(number, state, **({"accuracy": 0.6 + number / 100, "params": 10.0} if number < 5 else {}))
        records.append(replace(made, curve=(row,), sizes={"params": 10.0 + number}, params={"n": number % 5}))
    taken_up = fresh()
    taken_up.resume(records)
    returned = []
    while (again := taken_up.promoted(is_last=True)) is not None:
        returned.append(again.number)
    assert returned and set(returned) <= set(range(7, 20)), "neither the stopped one nor the running one"
    assert len(set(returned)) == len(returned)
    unsized = Suggestion(number=99, config={}, params={"n": 0})
    assert taken_up.judge(unsized, row) == "continue", "training decides its size"
