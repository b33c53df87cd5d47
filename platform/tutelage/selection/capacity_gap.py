"""Whether a smaller teacher taught the same better: the capacity gap (Cho and Hariharan, 2019; Mirzadeh et al., 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.errors import WorkFailed
from tutelage.measure import Measure, standard_error_of
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.sweeps import all_of
from tutelage.records.trial import TrialRecord

NOISE_ERRORS = 2.0  # standard errors of a difference: less counts as none


@dataclass(frozen=True, kw_only=True)
class SweepGap:
    """What another sweep's smaller teacher made of a student that is no larger."""

    sweep: str
    teacher_params: float
    trial: str
    measures: Mapping[str, float]


def found(home: SweepDir, record: TrialRecord, primary: Measure, num_validation: int) -> str | None:
    """Return in a sentence that a smaller teacher of another sweep on the same data taught a student of at most the size of
    `record` beyond noise better in as many epochs, or None.

    The primary measure on validation is compared, of `num_validation` examples: a share of p has a variance of p (1 - p) / n,
    another measure the square of its standard error, where that was estimated.
    """
    own = record.measures
    others = _sweep_gaps(home, record, primary)
    better = [one for one in others if _is_beyond_noise(one.measures, own, primary, num_validation)]
    if not better:
        return None
    best = min(better, key=lambda one: primary.sign * one.measures[primary.name])
    params, quality = f"{best.measures['params']:,.0f}", primary.text(best.measures[primary.name])
    return (
        f"Capacity gap: in sweep '{best.sweep}' a smaller teacher, of {best.teacher_params:,.0f} parameters, taught "
        f"{best.trial} ({params} parameters) to {primary.label} {quality} on validation, against "
        f"{primary.text(own[primary.name])} here. A larger teacher is not always the better one: search with that one, or "
        "average both (more_teachers)."
    )


def _is_beyond_noise(other: Mapping[str, float], own: Mapping[str, float], primary: Measure, count: int) -> bool:
    gain = -primary.sign * (other[primary.name] - own[primary.name])
    variance = sum(_variance(measures, primary, count) for measures in (other, own))
    return gain > NOISE_ERRORS * math.sqrt(variance)


def _variance(measures: Mapping[str, float], primary: Measure, count: int) -> float:
    value = measures[primary.name]
    return value * (1 - value) / count if primary.spread == "share" else measures.get(standard_error_of(primary), 0.0) ** 2


def _facts_of(other: SweepDir) -> Mapping[str, Any]:
    """Return the facts of another sweep; none of one whose files are damaged."""
    try:
        other.ledger.read()
        return other.facts()
    except WorkFailed:
        return {}


def _sweep_gaps(home: SweepDir, record: TrialRecord, primary: Measure) -> Iterator[SweepGap]:
    own = home.facts()
    for other in all_of(home.storage):
        facts = _facts_of(other)
        same = facts.get("fingerprint") == own["fingerprint"] and other.name != home.name
        if not same or facts["teacher"]["params"] >= own["teacher"]["params"]:
            continue
        for trained in other.records():
            as_long = trained.config["student"]["epochs"] == record.config["student"]["epochs"]
            is_measured = (
                trained.is_inherited == record.is_inherited and trained.state == "finished" and primary.name in trained.measures
            )
            if is_measured and as_long and trained.measures["params"] <= record.measures["params"]:
                yield SweepGap(
                    sweep=other.name, teacher_params=facts["teacher"]["params"], trial=trained.trial_id,
                    measures=trained.measures,
                )  # fmt: skip
