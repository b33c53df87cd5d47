"""Which drop a guard can certify with the examples of a sweep, computed and checked before anything is trained."""

from __future__ import annotations

from functools import cache
from typing import Any

from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.non_inferiority import least_margin
from tutelage.selection.certification import drop_text
from tutelage.spec.guard import GuardConfig
from tutelage.spec.spec import Spec
from tutelage.sweep import warm_start
from tutelage.training.context import TrainingContext

DISAGREEMENTS = (0.01, 0.02, 0.04, 0.08)  # shares of the examples on which two networks differ


def check_guard(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError` for a guard with too few examples, or a warm start from a sweep that used the certification half."""
    if spec.guard is None:
        return
    if spec.primary.spread is None:
        raise InputError(
            f"guard: {spec.primary.label} is not computed over examples, so no test compares two networks by it. Remove "
            "`guard`, or use a task whose primary measure is a share or a mean of examples."
        )
    for name in spec.search.warm_start:
        if warm_start.find(spec.storage, name).facts().get("fingerprint") != context.fingerprint:
            raise InputError(
                f"search.warm_start: sweep '{name}' has other examples, or used all of validation in its search: its students "
                "would be certified on examples that chose them. Remove it, or remove `guard`."
            )
    num_examples = len(context.certification)
    if num_examples == 0:
        raise InputError("guard: validation has fewer than two examples, so it has no half to certify with. Add examples.")
    if spec.primary.spread == "share":
        _check_margin(spec.guard, spec.primary, num_examples)


def _check_margin(guard: GuardConfig, primary: Measure, num_examples: int) -> None:
    least = _rounded_up(_least(num_examples, guard.disagreement, guard.confidence))
    if guard.max_drop < least:
        raise InputError(
            f"guard.max_drop {guard.max_drop:g} is too small: {num_examples:,} examples certify {least:g} "
            f"({drop_text(primary, least)}) at best, with {100 * guard.confidence:g} % confidence, where two networks differ "
            f"on {100 * guard.disagreement:g} % of the examples (guard.disagreement). Set guard.max_drop to at least "
            f"{least:g}, or add validation examples."
        )


def document(spec: Spec, context: TrainingContext) -> dict[str, Any] | None:
    """Return the halves' sizes and, for a share, the least `max_drop` that can be certified, by share of disagreement."""
    if spec.guard is None:
        return None
    num_examples = len(context.certification)
    shares = DISAGREEMENTS if spec.primary.spread == "share" else ()
    least = {f"{share:g}": _rounded_up(_least(num_examples, share, spec.guard.confidence)) for share in shares}
    return {
        "max_drop": spec.guard.max_drop, "confidence": spec.guard.confidence, "against": spec.guard.against,
        "decision_examples": len(context.splits["validation"]), "certification_examples": num_examples,
        "least_max_drop": least,
    }  # fmt: skip


def plan(spec: Spec, context: TrainingContext) -> dict[str, Any]:
    """Return the document with its sentences (`text`) as part of a sweep's plan; empty without a guard."""
    found = document(spec, context)
    return {"guard": {**found, "text": lines(spec, context)}} if found else {}


def lines(spec: Spec, context: TrainingContext) -> list[str]:
    """Return the document as sentences for the start of a sweep."""
    found = document(spec, context)
    if found is None:
        return []
    halves = (
        f"guard: the search uses {found['decision_examples']:,} examples of validation; {found['certification_examples']:,} "
        f"certify the selected student, with {100 * found['confidence']:g} % confidence"
    )
    if not found["least_max_drop"]:
        return [f"{halves}; the smallest drop of {spec.primary.label} that they can certify depends on the students"]
    least = [
        f"{drop_text(spec.primary, margin)} where two networks differ on {100 * float(share):g} % of the examples"
        for share, margin in found["least_max_drop"].items()
    ]
    return [f"{halves}. The smallest max_drop that they can certify: {', '.join(least)}"]


@cache
def _least(num_examples: int, disagreement: float, confidence: float) -> float:
    return least_margin(num_examples, disagreement, confidence)


def _rounded_up(margin: float) -> float:
    """Return a margin with four digits after the point, never below it."""
    return -(-margin * 1e4 // 1) / 1e4
