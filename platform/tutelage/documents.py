"""The JSON documents that the command line prints about a sweep; each carries a version."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tutelage import pareto, pipeline
from tutelage.objectives import losses, reference_losses
from tutelage.report import front_of
from tutelage.search.suggest import is_trained
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
        "hypervolume": _hypervolume(home),
        "outside_reference": pipeline.outside_reference(home, objectives),
        "students": [
            {"trial": r.trial_id, "run_id": run_ids.get(r.trial_id), "measures": r.measures, "config": r.config}
            for r in front_of(pipeline.candidates(home), objectives)
        ],
    }


def status(home: SweepDir) -> dict[str, Any]:
    """Return how far the sweep is."""
    facts, records = home.facts(), home.records()
    counts = Counter(record.state for record in records)
    is_driven, running = home.is_driven(), len(home.pending())
    states = {state: counts[state] for state in ("finished", "stopped", "failed", "infeasible")}
    trained = sum(is_trained(record) for record in records)
    to_come = max(0, (facts.get("num_trials") or 0) - trained - running) if facts["state"] != "finished" else 0
    return {
        "version": 1,
        "sweep": home.name,
        "state": facts["state"] if is_driven or facts["state"] not in ("started", "running") else "interrupted",
        "trials": {**states, "running": running, "to_come": to_come},
        "front_size": len(front_of(pipeline.candidates(home), home.objectives())) if "objectives" in facts else 0,
        "hypervolume": _hypervolume(home) if "objectives" in facts else None,
    }


def _hypervolume(home: SweepDir) -> float:
    objectives = home.objectives()
    matrix = losses([record.measures for record in pipeline.candidates(home)], objectives)
    return pareto.hypervolume(matrix, reference_losses(objectives))
