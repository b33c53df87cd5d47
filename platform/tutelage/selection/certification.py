"""Tests of a chain of candidates against a reference, on examples that no choice has used; the guarantee in words.

The order is fixed before these examples are read, and the first candidate that fails ends the tests (fixed-sequence testing;
Angelopoulos et al., Learn then test, 2021). The results of all that pass hold together at the
confidence of one test, so any choice among them is covered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.intervals import Contributions
from tutelage.measure import Measure
from tutelage.non_inferiority import Comparison, compare

EXACT, BOOTSTRAP = "exact paired test", "paired bootstrap, which holds for many examples only (asymptotic)"


@dataclass(frozen=True, kw_only=True)
class Step:
    """The test of one candidate, named by its trial, and whether it passed."""

    trial: str
    comparison: Comparison
    passed: bool

    def document(self) -> dict[str, Any]:
        """Return the step as JSON values; `disagreements` is None for a measure that is not a share."""
        one = self.comparison
        disagreements = None if one.lost is None or one.won is None else one.lost + one.won
        return {
            "trial": self.trial, "passed": self.passed, "p_value": one.p_value, "drop": one.drop, "n": one.n,
            "disagreements": disagreements, "lost": one.lost, "won": one.won,
        }  # fmt: skip


def fixed_sequence(
    measure: Measure, reference: Contributions, chain: Iterable[tuple[str, Contributions]], max_drop: float, confidence: float,
    seed: int = 0,
) -> list[Step]:  # fmt: skip
    """Return the tests of the chain's candidates in their order, up to the first that fails; no later one is evaluated."""
    steps: list[Step] = []
    for trial, candidate in chain:
        found = compare(measure, reference, candidate, max_drop, seed)
        steps.append(Step(trial=trial, comparison=found, passed=found.p_value <= 1.0 - confidence))
        if not steps[-1].passed:
            break
    return steps


def by_evidence(
    measure: Measure, reference: Contributions, candidates: Mapping[str, Contributions], max_drop: float, seed: int = 0
) -> list[str]:
    """Return the candidates' names by their p-values on the decision half, the smallest first (Pareto Testing;
    Laufer-Goldshtein et al., 2023). Of equal p-values the smaller drop comes first, then the given order."""
    found = {name: compare(measure, reference, own, max_drop, seed) for name, own in candidates.items()}
    return sorted(candidates, key=lambda name: (found[name].p_value, found[name].drop))


def confidence_of(evaluation: int, num_chains: int, confidence: float) -> float:
    """Return the confidence of each test in the `evaluation`-th evaluation of the certification half, counted from 1.

    The first evaluation has the full `confidence`. A later chain may be chosen because of an earlier result. So the probability
    of a wrong guarantee is divided by the number of chains that might be chosen, `num_chains` (Bonferroni), and halved with
    each evaluation: all later ones together are wrong with a probability of at most 1 - `confidence`, whatever was chosen.
    """
    return confidence if evaluation == 1 else 1.0 - (1.0 - confidence) / (num_chains * 2 ** (evaluation - 1))


def drop_text(measure: Measure, drop: float) -> str:
    """Return a margin as text, without a sign."""
    return measure.difference_text(drop).lstrip("+")


def guarantee_text(measure: Measure, document: Mapping[str, Any], reference: str) -> str:
    """Return the guarantee that a guard's document gives for the candidate `result`; `reference` describes its reference."""
    result, passed = document["result"], [step for step in document["steps"] if step["passed"]]
    own = next((step for step in passed if step["trial"] == result), None)
    if own is None:
        others = ", ".join(step["trial"] for step in passed)
        why = f"also certified: {others}" if passed else why_none(measure, document)
        return f"{result} is selected: it is the reference of the guard, so it loses nothing; {why}."
    bound, percent = drop_text(measure, document["max_drop"]), f"{100 * document['confidence']:g} %"
    certified = (
        f"The guard certifies that {result} loses less than {bound} of {measure.label} against {reference}, with {percent} "
        f"confidence: {_figures(measure, own)}, by the {document['test']}, on {own['n']:,} examples that no choice has used."
    )
    failed = next((step for step in document["steps"] if not step["passed"]), None)
    return (
        f"{certified} {failed['trial']} failed ({_figures(measure, failed)}), which ended the tests." if failed else certified
    )


def why_none(measure: Measure, document: Mapping[str, Any]) -> str:
    """Return why no candidate is certified, as text: the first one failed, or there is none."""
    if not document["steps"]:
        return "there was no other student to test"
    failed = document["steps"][0]
    bound = drop_text(measure, document["max_drop"])
    return f"no other student is certified to lose less than {bound}: {failed['trial']} failed ({_figures(measure, failed)})"


def _figures(measure: Measure, step: Mapping[str, Any]) -> str:
    counts = ""
    if step["lost"] is not None:
        counts = f", {step['lost']} lost and {step['won']} won"
    return f"drop {measure.difference_text(step['drop'])}{counts}, p = {step['p_value']:.2g}"
