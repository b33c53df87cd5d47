"""The check for a capacity gap: a smaller teacher gave a better student (Cho and Hariharan, 2019; Mirzadeh et al., 2020)."""

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

NOISE_ERRORS = 2.0  # standard errors: a smaller difference is regarded as noise


@dataclass(frozen=True, kw_only=True)
class SweepGap:
    """A student of at most the same size in another sweep, with a smaller teacher."""

    sweep: str
    teacher_params: float
    trial: str
    measures: Mapping[str, float]


def found(home: SweepDir, record: TrialRecord, primary: Measure, num_validation: int) -> str | None:
    """Return a sentence about the capacity gap; None if no other sweep shows one.

    It shows one if, on the same data and with a smaller teacher, a student of at most the size of `record` was trained in as
    many epochs to a better primary measure on the `num_validation` examples, beyond noise. The variance of a share p is
    p (1 - p) / n, that of another measure the square of its standard error, or 0 where that was not estimated.
    """
    own = record.measures
    others = _sweep_gaps(home, record, primary)
    better = [one for one in others if _is_beyond_noise(one.measures, own, primary, num_validation)]
    if not better:
        return None
    best = min(better, key=lambda one: primary.sign * one.measures[primary.name])
    params, quality = f"{best.measures['params']:,.0f}", primary.text(best.measures[primary.name])
    return (
        f"Capacity gap: in sweep '{best.sweep}' a smaller teacher, of {best.teacher_params:,.0f} parameters, gave "
        f"{best.trial} ({params} parameters) to {primary.label} {quality} on validation, against "
        f"{primary.text(own[primary.name])} here. A larger teacher is not always better: search with the smaller one, or "
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
    """Return the facts of another sweep; empty if its files are damaged."""
    try:
        other.ledger.read()
        return other.facts()
    except WorkFailed:
        return {}


def _sweep_gaps(home: SweepDir, record: TrialRecord, primary: Measure) -> Iterator[SweepGap]:
    own = home.facts()
    for other in all_of(home.storage.uri):
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
