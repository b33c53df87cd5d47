"""One student from a front, by a stated policy, with the reason in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage import pareto
from tutelage.errors import InputError, NoStudentFits, nearest
from tutelage.objectives import SIZES, Limits, Objective, losses
from tutelage.record import TrialRecord

Policy = Callable[[Sequence[TrialRecord], Sequence[Objective]], tuple[list[TrialRecord], str]]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The student that a policy takes, why, and the next one in its order (None: there is only one)."""

    record: TrialRecord
    policy: str
    reason: str
    runner_up: TrialRecord | None


def _size(record: TrialRecord) -> float:
    return record.measures.get("size_bytes", record.measures.get("params", 0.0))


def max_accuracy(front: Sequence[TrialRecord], objectives: Sequence[Objective]) -> tuple[list[TrialRecord], str]:
    """The most accurate on validation; of equals the smallest, then the earliest."""
    order = sorted(front, key=lambda r: (-r.measures["accuracy"], r.measures["params"], r.number))
    return order, f"it is the most accurate of {len(front)}, at {order[0].measures['accuracy']:.4f}"


def min_size(front: Sequence[TrialRecord], objectives: Sequence[Objective]) -> tuple[list[TrialRecord], str]:
    """The smallest in bytes; of equals the most accurate, then the earliest."""
    order = sorted(front, key=lambda r: (_size(r), -r.measures["accuracy"], r.number))
    return order, f"it is the smallest of {len(front)}, at {_size(order[0]):,.0f} bytes"


def knee(front: Sequence[TrialRecord], objectives: Sequence[Objective]) -> tuple[list[TrialRecord], str]:
    """Where the front bends most: the largest distance below the plane through its extremes, sizes on a log scale."""
    if len(front) < 3:
        order, reason = max_accuracy(front, objectives)
        return order, f"a front of {len(front)} has no knee, and {reason}"
    distances = knee_distances(front, objectives)
    order = [front[i] for i in sorted(range(len(front)), key=lambda i: (-distances[i], front[i].number))]
    best = order[0].measures
    named = ", ".join(f"{o.name} {best[o.name]:,.4g}" for o in objectives)
    return order, f"the front of {len(front)} bends most there ({named}): beyond it, little is gained for much"


def knee_distances(front: Sequence[TrialRecord], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Return each front member's distance (n,) below the plane through the extremes, on axes scaled to [0, 1].

    Size-like objectives are taken as log10 first. Das (1999) states the idea for a chord in two objectives.
    """
    matrix = losses([r.measures for r in front], objectives)
    for column, objective in enumerate(objectives):
        if objective.name in SIZES:
            matrix[:, column] = np.log10(np.maximum(matrix[:, column], 1e-9))
    span = np.ptp(matrix, axis=0)
    scaled = (matrix - matrix.min(axis=0)) / np.where(span > 0, span, 1.0)
    distances: NDArray[np.float64] = (1.0 - scaled.sum(axis=1)) / np.sqrt(len(objectives))
    return distances


POLICIES: dict[str, Policy] = {"knee": knee, "max-accuracy": max_accuracy, "min-size": min_size}


def policy_summary(name: str) -> str:
    """Return a policy in one sentence."""
    return (POLICIES[name].__doc__ or "").split("\n", 1)[0]


def non_dominated(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """Return the records that no other of them dominates, in their order; all must have every objective measured."""
    mask = pareto.non_dominated_mask(losses([record.measures for record in records], objectives))
    return [record for record, keep in zip(records, mask, strict=True) if keep]


def select(records: Sequence[TrialRecord], objectives: Sequence[Objective], policy: str, limits: Limits) -> Selection:
    """Return the student that `policy` takes among finished ones that meet `limits` and are not dominated by another such.

    Raises `InputError` for an unknown policy, `NoStudentFits` naming the nearest student and what it misses.
    """
    if policy not in POLICIES:
        raise InputError(f"no policy '{policy}'.{nearest(policy, POLICIES)} Known: {', '.join(POLICIES)}.")
    finished = [record for record in records if record.state == "finished"]
    fitting = [record for record in finished if limits.are_met(record.measures)]
    if not fitting:
        raise NoStudentFits(_nearest_miss(finished, limits))
    front = non_dominated(fitting, objectives)
    order, reason = POLICIES[policy](front, objectives)
    among = "" if limits == Limits() else f" (among {len(fitting)} of {len(finished)} students with {limits.describe()})"
    return Selection(
        record=order[0],
        policy=policy,
        reason=f"{policy} takes {order[0].trial_id}: {reason}{among}.",
        runner_up=order[1] if len(order) > 1 else None,
    )


def _nearest_miss(finished: Sequence[TrialRecord], limits: Limits) -> str:
    if not finished:
        return "no student has finished, so none can be selected."
    closest = min(finished, key=lambda r: (limits.shortfall(r.measures), r.number))
    misses = [f"{name} {closest.measures[name]:,.6g}" for name in limits.missed(closest.measures)]
    unmeasured = sorted({*limits.max, *limits.min} - set(closest.measures))
    had = ", ".join(misses + [f"{name} not measured" for name in unmeasured])
    return f"no student of {len(finished)} has {limits.describe()}. The nearest, {closest.trial_id}, has {had}."
