"""Chains of candidates tested by fixed sequence: against brute force, in simulation, and what is said of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.stats import multinomial

from tutelage.intervals import Contributions
from tutelage.measure import Measure
from tutelage.measures.accuracy import MEASURE as ACCURACY
from tutelage.selection.certification import Step, by_evidence, confidence_of, fixed_sequence, guarantee_text, why_none

LOSS = Measure(name="loss", label="loss", unit="nats", direction="minimise", meaning="its mean loss", spread="mean")


def answers(n: int, lost: int, won: int) -> tuple[Contributions, Contributions]:
    """Return a reference and a candidate: of `lost` examples only the first is right, of `won` only the second."""
    reference, candidate = np.ones((n, 1)), np.ones((n, 1))
    candidate[:lost] = 0.0
    reference[lost : lost + won] = 0.0
    return reference, candidate


def test_a_chain_ends_at_its_first_failure_and_no_later_candidate_is_read() -> None:
    reference = np.ones((200, 1))
    read: list[str] = []

    def chain() -> Iterator[tuple[str, Contributions]]:
        for name, lost in (("a", 0), ("b", 1), ("c", 40), ("d", 0)):
            read.append(name)
            yield name, answers(200, lost, 0)[1]

    steps = fixed_sequence(ACCURACY, reference, chain(), 0.05, 0.95)
    assert [(step.trial, step.passed) for step in steps] == [("a", True), ("b", True), ("c", False)]
    assert read == ["a", "b", "c"]
    assert (steps[1].comparison.lost, steps[1].comparison.won, steps[1].comparison.drop) == (1, 0, pytest.approx(0.005))


@pytest.mark.slow
@pytest.mark.parametrize("n", [24])
def test_certification_is_wrong_with_at_most_five_percent_by_counting_every_outcome(n: int) -> None:
    """A rung whose true drop is exactly the bound must pass with at most 5 %, for every rate of disagreement."""
    margin = 0.15
    passes = {
        (lost, won): fixed_sequence(ACCURACY, *(lambda pair: (pair[0], [("a", pair[1])]))(answers(n, lost, won)), margin, 0.95)[
            0
        ].passed
        for lost, won in itertools.product(range(n + 1), repeat=2)
        if lost + won <= n
    }
    assert any(passes.values())
    for rate in (0.15, 0.2, 0.3, 0.5):
        lost_rate, won_rate = (rate + margin) / 2, (rate - margin) / 2
        outcomes = multinomial(n, [lost_rate, won_rate, 1 - rate])
        wrong = sum(outcomes.pmf([lost, won, n - lost - won]) for (lost, won), passed in passes.items() if passed)
        assert wrong <= 0.05


@pytest.mark.slow
def test_a_simulated_guard_holds_in_95_percent() -> None:
    """Rungs with correlated errors and known drops around the bound; the strongest certified one is within it."""
    generator, margin, wrong = np.random.default_rng(0), 0.05, 0
    drops = (0.02, 0.05, 0.07, 0.1)
    for _ in range(200):
        noise, right = generator.random(150), generator.random((150, 1)) < 0.9
        chain = [
            (str(drop), np.where(right[:, 0], noise >= (drop + 0.01) / 0.9, noise < 0.01 / 0.1)[:, None].astype(float))
            for drop in drops
        ]
        steps = fixed_sequence(ACCURACY, right.astype(float), chain, margin, 0.95)
        wrong += any(step.passed and float(step.trial) >= margin for step in steps)
    assert wrong <= 16  # 0.05 of 200 is 10; the exact 97.5 % bound of its count is 16


def test_the_front_is_ordered_by_evidence() -> None:
    reference = np.ones((100, 1))
    candidates = {name: answers(100, lost, 0)[1] for name, lost in (("worst", 30), ("best", 0), ("middle", 5))}
    assert by_evidence(ACCURACY, reference, candidates, 0.1) == ["best", "middle", "worst"]


def test_evidence_counts_disagreements_and_not_the_drop_alone() -> None:
    """`restless` loses less than `steady`, by more answers that differ, so that its drop is less certain."""
    reference = np.concatenate([np.zeros((100, 1)), np.ones((900, 1))])
    restless, steady = reference.copy(), reference.copy()
    restless[:40], restless[100:145], steady[100:106] = 1.0, 0.0, 0.0
    assert by_evidence(ACCURACY, reference, {"restless": restless, "steady": steady}, 0.02) == ["steady", "restless"]


def test_a_measure_that_is_no_share_is_tested_by_a_bootstrap() -> None:
    generator = np.random.default_rng(1)
    reference = generator.normal(1.0, 0.1, (100, 1))
    chain = [("near", reference + generator.normal(0.0, 0.01, (100, 1))), ("far", reference + 0.2)]
    steps = fixed_sequence(LOSS, reference, chain, 0.1, 0.95)
    assert [step.passed for step in steps] == [True, False]
    assert steps[0].document()["disagreements"] is None and steps[1].comparison.drop == pytest.approx(0.2)


def test_later_evaluations_are_stricter_and_their_errors_add_up_to_less_than_one_tests() -> None:
    assert confidence_of(1, 7, 0.95) == 0.95
    assert 1 - confidence_of(2, 7, 0.95) == pytest.approx(0.05 / 14)
    wrong = sum(7 * (1 - confidence_of(number, 7, 0.95)) for number in range(2, 40))
    assert wrong == pytest.approx(0.05) and wrong <= 0.05


def document(steps: list[Step], result: str) -> dict[str, Any]:
    return {
        "max_drop": 0.05, "confidence": 0.95, "test": "exact paired test", "result": result,
        "steps": [step.document() for step in steps],
    }  # fmt: skip


def test_the_guarantee_states_bound_confidence_counts_and_p() -> None:
    reference = np.ones((200, 1))
    chain = [("t1.1", answers(200, 1, 0)[1]), ("t1.2", answers(200, 40, 0)[1])]
    steps = fixed_sequence(ACCURACY, reference, chain, 0.05, 0.95)
    text = guarantee_text(ACCURACY, document(steps, "t1.1"), "the dense student t1.0")
    assert text.startswith(
        "The guard certifies that t1.1 loses less than 5.00 points of accuracy against the dense student t1.0, with 95 % "
        "confidence: drop +0.50 points, 1 lost and 0 won, p = "
    )
    assert "by the exact paired test, on 200 examples that no choice has used. t1.2 failed (drop +20.00 points" in text


def test_without_a_certified_candidate_the_reference_is_selected_with_the_reason() -> None:
    steps = fixed_sequence(ACCURACY, np.ones((200, 1)), [("t1.1", answers(200, 40, 0)[1])], 0.05, 0.95)
    text = guarantee_text(ACCURACY, document(steps, "t1.0"), "the dense student t1.0")
    assert text.startswith("t1.0 is selected: it is the reference of the guard")
    assert "no other student is certified to lose less than 5.00 points: t1.1 failed (drop +20.00 points" in text
    assert why_none(ACCURACY, document([], "t1.0")) == "there was no other student to test"
    passed = fixed_sequence(ACCURACY, np.ones((200, 1)), [("t1.1", np.ones((200, 1)))], 0.05, 0.95)
    assert guarantee_text(ACCURACY, document(passed, "t1.0"), "").endswith("so it loses nothing; also certified: t1.1.")
