"""The latency of a sweep's students, measured and put on record."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.networks import checkpoint, timing
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.training.context import TrainingContext


def measure_latencies(
    home: SweepDir, context: TrainingContext, trials: Sequence[str], tracker: Tracker, events: Dispatcher
) -> dict[str, float]:
    """Measure the one-example latency of these trials' students, with nothing else running, and put it on record.

    Return the teacher's, measured in turn with them; no trial, no measurement.
    """
    if not trials:
        return {}
    events.stage(f"measuring the latency of {len(trials)} {'student' if len(trials) == 1 else 'students'}")
    trusted = home.spec().own_code()
    models = {trial: checkpoint.read(home.students_dir / trial, trusted)[0] for trial in trials}
    arguments = context.splits["validation"].take(slice(1)).arguments
    measured = timing.latencies_ms({**models, "teacher": context.teacher}, arguments)
    of_teacher = measured.pop("teacher")
    home.add_measures(measured)
    for trial, latency in measured.items():
        tracker.log_measures(trial, latency)
    return of_teacher
