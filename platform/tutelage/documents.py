"""The JSON documents that the command line prints about a sweep; each carries a version."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tutelage import pipeline
from tutelage.report import front_of
from tutelage.store import SweepDir


def front(home: SweepDir) -> dict[str, Any]:
    """Return the front: objectives, reference point, hypervolume, and every student with measures and config."""
    facts, objectives = home.facts(), home.objectives()
    run_ids = facts.get("run_ids", {})
    return {
        "version": 1,
        "sweep": home.name,
        "objectives": [{"name": o.name, "direction": o.direction} for o in objectives],
        "reference": {o.name: o.reference for o in objectives},
        "hypervolume": facts.get("hypervolume"),
        "students": [
            {"trial": r.trial_id, "run_id": run_ids.get(r.trial_id), "measures": r.measures, "config": r.config}
            for r in front_of(pipeline.candidates(home), objectives)
        ],
    }


def status(home: SweepDir) -> dict[str, Any]:
    """Return how far the sweep is."""
    facts, records = home.facts(), home.records()
    counts = Counter(record.state for record in records)
    open_trials = facts.get("num_trials") if facts["state"] == "running" else 0
    states = {state: counts[state] for state in ("finished", "stopped", "failed", "infeasible")}
    trained = counts["finished"] + counts["stopped"] + sum(r.elapsed_s > 0 for r in records if r.state == "failed")
    return {
        "version": 1,
        "sweep": home.name,
        "state": facts["state"],
        "trials": {**states, "to_come": max(0, (open_trials or 0) - trained)},
        "front_size": len(front_of(pipeline.candidates(home), home.objectives())) if "objectives" in facts else 0,
        "hypervolume": facts.get("hypervolume"),
    }
