"""Whether a smaller teacher taught the same better: the capacity gap (Cho and Hariharan, 2019; Mirzadeh et al., 2020)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord

NOISE_ERRORS = 2.0  # standard errors of the difference of two accuracies: less is no difference


@dataclass(frozen=True, kw_only=True)
class SweepGap:
    """What another sweep's smaller teacher made of a student that is no larger."""

    sweep: str
    teacher_params: float
    trial: str
    accuracy: float
    params: float


def found(home: SweepDir, record: TrialRecord, primary: str, num_validation: int) -> str | None:
    """Return in a sentence that a smaller teacher of another sweep on the same data taught a student of at most the size of
    `record` beyond noise better in as many epochs, or None.

    Compared are `primary` on validation, of `num_validation` examples: an accuracy of p has a variance of p (1 - p) / n.
    """
    better = [
        one for one in _sweep_gaps(home, record, primary) if _is_beyond_noise(one, record.measures[primary], num_validation)
    ]
    if not better:
        return None
    best = max(better, key=lambda one: one.accuracy)
    return (
        f"Capacity gap: in sweep '{best.sweep}' a smaller teacher, of {best.teacher_params:,.0f} parameters, taught "
        f"{best.trial} ({best.params:,.0f} parameters) to {best.accuracy:.4f} on validation, against "
        f"{record.measures[primary]:.4f} here. A larger teacher is not always the better one: search with that one, or "
        "average both (more_teachers)."
    )


def _is_beyond_noise(one: SweepGap, accuracy: float, count: int) -> bool:
    variance = sum(p * (1 - p) for p in (one.accuracy, accuracy)) / count
    return one.accuracy - accuracy > NOISE_ERRORS * math.sqrt(variance)


def _sweep_gaps(home: SweepDir, record: TrialRecord, primary: str) -> Iterator[SweepGap]:
    own = home.facts()
    for other in sorted(home.root.parent.iterdir()):
        facts = _facts(SweepDir(other))
        same = facts.get("fingerprint") == own["fingerprint"] and other != home.root
        if not same or facts["teacher"]["params"] >= own["teacher"]["params"]:
            continue
        for trained in SweepDir(other).records():
            as_long = trained.config["student"]["epochs"] == record.config["student"]["epochs"]
            if trained.state == "finished" and as_long and trained.measures["params"] <= record.measures["params"]:
                yield SweepGap(
                    sweep=other.name, teacher_params=facts["teacher"]["params"], trial=trained.trial_id,
                    accuracy=trained.measures[primary], params=trained.measures["params"],
                )  # fmt: skip


def _facts(home: SweepDir) -> dict[str, Any]:
    return home.facts() if (home.root / "sweep.json").exists() else {}
