"""Measures and records the latency of a sweep's students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint, runtime
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.training import latency
from tutelage.training.context import TrainingContext

_TEACHER = "the teacher"


def measure_latencies(
    home: SweepDir, context: TrainingContext, trials: Sequence[str], tracker: Tracker, events: Dispatcher
) -> dict[str, float]:
    """Measure the one-example latency of these trials' students, with nothing else running, and record it.

    Return the teacher's latency, measured in turn with them; without trials nothing is measured. A network that cannot be
    written as ONNX or measured has no latency, and a message names it; it does not end the sweep.
    """
    if not trials:
        return {}
    events.stage(f"measuring the latency of {len(trials)} {'student' if len(trials) == 1 else 'students'}")
    trusted = home.spec().own_code()
    networks: dict[str, latency.Network] = {
        trial: runtime.int8_file(home.student_path(trial)) or checkpoint.read(home.student_path(trial), trusted)[0]
        for trial in trials
    }
    ready = {}
    for name, network in {**networks, _TEACHER: context.teacher}.items():
        try:
            ready[name] = latency.prepared(network, context)
        except WorkFailed as error:
            events.stage(f"no latency of {name}: {error} resources.latency.runtime: torch measures it in PyTorch.")
        if latency.is_not_exported(network, context.latency):
            events.stage(f"the latency of {name} is measured in PyTorch, because the network has no exported form")
    measured = _measured(ready, context, events)
    of_teacher = measured.pop(_TEACHER, {})
    home.add_measures(measured)
    for trial, found in measured.items():
        tracker.log_measures(trial, found)
    return of_teacher


def _measured(ready: Mapping[str, latency.Network], context: TrainingContext, events: Dispatcher) -> latency.Latencies:
    """Return the latencies of networks. With a command, each is measured alone, so that a failure affects only one."""
    parts = [{name: one} for name, one in ready.items()] if context.latency.command else [dict(ready)] if ready else []
    found: latency.Latencies = {}
    for part in parts:
        try:
            found |= latency.latencies_ms(part, context)
        except WorkFailed as error:
            events.stage(f"no latency of {', '.join(part)}: {error}")
    return found
