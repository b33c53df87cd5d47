"""The front with error bars: what fresh seeds say of its students, on record beside what the search saw."""

from __future__ import annotations

from dataclasses import replace

from tutelage.confirming import Accuracies, Estimate, estimates
from tutelage.store import SweepDir
from tutelage.tracking import Tracker


def put_on_record(home: SweepDir, tracker: Tracker, fresh: Accuracies, num_judged: int) -> None:
    """Add to the measures of each student in `fresh` the mean over its fresh seeds, their number, and the 95 % interval.

    What has not changed is not written again. The accuracy that the search saw stays what it was.
    """
    records = {record.trial_id: record for record in home.records() if record.trial_id in fresh}
    searched = {trial: record.measures["accuracy"] for trial, record in records.items()}
    for trial, estimate in estimates(searched, fresh, num_judged).items():
        measures = measures_of(estimate)
        if not measures.items() <= records[trial].measures.items():
            home.ledger.append(replace(records[trial], measures={**records[trial].measures, **measures}))
            tracker.log_measures(trial, measures)


def measures_of(estimate: Estimate) -> dict[str, float]:
    """Return an estimate as measures; the interval's ends are left out where there is none."""
    low_high = dict(zip(("confirmed_low", "confirmed_high"), estimate.interval or (), strict=False))
    return {"confirmed_accuracy": estimate.mean, "confirmed_seeds": float(estimate.seeds), **low_high}
