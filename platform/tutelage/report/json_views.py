"""The JSON documents that the command line prints about a sweep; each carries a version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tutelage.records import fronts
from tutelage.records.fronts import front_of, hypervolume_of
from tutelage.records.ledger import is_trained
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord


def front(home: SweepDir) -> dict[str, Any]:
    """Return the front: objectives, reference point, hypervolume, and every student with measures and config."""
    facts, objectives, found = home.facts(), home.objectives(), fronts.candidates(home)
    run_ids = facts.get("run_ids", {})
    return {
        "version": 1,
        "sweep": home.name,
        "objectives": [{"name": o.name, "direction": o.direction} for o in objectives],
        "reference": {o.name: o.reference for o in objectives},
        "hypervolume": hypervolume_of(found, objectives),
        "outside_reference": fronts.outside_reference(home, objectives),
        "students": [
            {
                "trial": r.trial_id,
                "parent": r.parent or None,
                "rung": r.rung,
                "inherited": r.is_inherited,
                "run_id": run_ids.get(r.trial_id),
                "measures": r.measures,
                "config": r.config,
            }
            for r in front_of(found, objectives)
        ],
    }


def status(home: SweepDir) -> dict[str, Any]:
    """Return how far the sweep is; `time_left_s` is None where nothing tells how long the trials to come take."""
    facts, records, is_driven = home.facts(), home.ledger.read(), home.is_driven()
    counts = Counter[str](record.state for record in records)
    states = ("finished", "stopped", "failed", "infeasible", "running", "paused")
    given = sum(is_trained(record) for record in records)
    state = facts.get("state", "interrupted")
    to_come = max(0, (home.spec().search.trials or 0) - given) if state != "finished" else 0
    begun = "objectives" in facts
    objectives, found = (home.objectives(), fronts.candidates(home)) if begun else ((), [])
    return {
        "version": 1,
        "sweep": home.name,
        "state": state if is_driven or state not in ("started", "running") else "interrupted",
        "trials": {**{state: counts[state] for state in states}, "to_come": to_come},
        "front_size": len(front_of(found, objectives)),
        "hypervolume": hypervolume_of(found, objectives) if begun else None,
        "running": [{"trial": record.trial_id} for record in records if record.state == "running"],
        "time_left_s": _time_left_s(records, to_come) if is_driven else None,
    }


def _time_left_s(records: Sequence[TrialRecord], to_come: int) -> float | None:
    """Return the mean seconds of a trial times those to come and half of those running, by as many as run at a time."""
    trained = [record.elapsed_s for record in records if record.state in ("finished", "stopped") and record.elapsed_s]
    num_running = sum(record.state == "running" for record in records)
    if not trained or not (to_come or num_running):
        return None
    return fmean(trained) * (to_come + num_running / 2) / max(1, num_running)
