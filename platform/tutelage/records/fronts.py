"""The front of a sweep, made from its ledger."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage import pareto
from tutelage.objectives import Objective, losses, reference_losses
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord


def outside_reference(home: SweepDir, objectives: Sequence[Objective]) -> list[str]:
    """Return the trials on the front that are no better than the reference point in some objective."""
    front, point = front_of(candidates(home), objectives), reference_losses(objectives)
    rows = losses([record.measures for record in front], objectives)
    return [record.trial_id for record, row in zip(front, rows, strict=True) if not (row < point).all()]


def candidates(home: SweepDir) -> list[TrialRecord]:
    """Return the finished trials that meet the sweep's constraints: those that its front is drawn from."""
    limits = home.spec().search.constraints
    return [record for record in home.records() if record.state == "finished" and limits.are_met(record.measures)]


def front_of(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """Return the finished records that no other finished one dominates, smallest first."""
    finished = [record for record in records if record.state == "finished"]
    return sorted(non_dominated(finished, objectives), key=lambda record: record.measures.get("params", 0.0))


def hypervolume_of(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> float:
    """Return the hypervolume that finished records have between them, up to the objectives' reference points."""
    return pareto.hypervolume(losses([record.measures for record in records], objectives), reference_losses(objectives))


def non_dominated(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """Return the records that no other of them dominates, in their order; all must have every objective measured."""
    mask = pareto.non_dominated_mask(losses([record.measures for record in records], objectives))
    return [record for record, keep in zip(records, mask, strict=True) if keep]
