"""What a snapshot says of the sweep as a whole, from the sweep's spec and facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage import plugins
from tutelage.dashboard.rows import finite
from tutelage.errors import WorkFailed
from tutelage.measure import Measure
from tutelage.objectives import Limits, Objective
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import task_name
from tutelage.redaction import redacted
from tutelage.report.selection_sections import baseline_of
from tutelage.spec.domains import Choice, Domain
from tutelage.spec.spec import Spec

SCALES = ("identity", "log10", "log10_raised", "neg_log10_error")  # that the page computes itself; another one is "other"
RUN_LINK = "../#/experiments/{experiment_id}/runs/{run_id}"  # in MLflow, seen from the explorer's page


def header(home: SweepDir) -> dict[str, Any]:
    """Return the snapshot's fields that are not columns: sweep, measures, baselines, config without values, commands.

    Fields that a sweep has only once its search has begun are empty before.
    """
    facts, spec = home.facts(), home.kept_spec()
    begun = "objectives" in facts
    objectives, measures = home.objectives() if begun else (), home.measures() if begun else spec.measures
    return {
        "format": 1,
        "sweep": {**_sweep(home, spec, facts), **_goals(spec, objectives, next(iter(measures.values())))},
        "measures": {name: described(one, objectives) for name, one in measures.items()},
        "baselines": [_teacher(facts), *_label_only(home)] if begun else [],
        "config": {name: _domain(domain) for name, domain in spec.space.domains()},
        "num_judged": facts.get("num_examples", {}).get("validation"),
    }


def _sweep(home: SweepDir, spec: Spec, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": home.name,
        "run_id": facts.get("run_id"),
        "experiment_id": facts.get("experiment_id"),
        "state": facts.get("state", "running"),
        "task": task_name(spec),
        "data": plugins.described(redacted(spec.data)),
        "seed": spec.seed,
        "num_trials": spec.search.trials,
        "elapsed_s": facts.get("elapsed_s"),
        "running": [],
        "notes": [],
        "commands": {"select": home.command("select"), "reproduce": reproducing(home.name, facts.get("run_id", ""))},
        "links": {"run": RUN_LINK},
    }


def reproducing(name: str, run_id: str) -> str:
    """Return the commands that run a sweep again: the same spec and seed give the same students."""
    download = f"mlflow artifacts download --run-id {run_id} --artifact-path spec.yaml --dst-path ."
    return f"{download} && tutelage sweep spec.yaml --set name={name}-again"


def _goals(spec: Spec, objectives: tuple[Objective, ...], primary: Measure) -> dict[str, Any]:
    chosen = plugins.parse_reference(spec.select.policy)
    options: dict[str, dict[str, Any]] = {**{key: {} for key in plugins.names("policies")}, chosen[0]: redacted(chosen[1])}
    return {
        "objectives": [one.name for one in objectives],
        "reference": {one.name: one.reference for one in objectives},
        "primary": primary.name,
        "constraints": constraints(spec.search.constraints),
        "limits": constraints(spec.select.limits),
        "policies": {name: {"options": given, "takes": None} for name, given in options.items()},
        "policy": chosen[0],
    }


def constraints(limits: Limits) -> list[dict[str, Any]]:
    """Return bounds as (measure, op, value), those from above first."""
    sides = (("<=", limits.max), (">=", limits.min))
    return [{"measure": name, "op": op, "value": bound} for op, side in sides for name, bound in side.items()]


def described(measure: Measure, objectives: tuple[Objective, ...] = ()) -> dict[str, Any]:
    """Return what a page must know of a measure to draw, name and format its values."""
    own = next((one for one in objectives if one.name == measure.name), None)
    scale = measure.scale.__name__
    return {
        "label": measure.label, "unit": measure.unit, "direction": measure.direction, "format": measure.format,
        "meaning": measure.meaning, "scale": scale if scale in SCALES else "other",
        "reference": own.reference if own else measure.reference, "is_objective": own is not None, "is_cost": measure.is_cost,
        "detail": measure.detail, "mlflow_key": measure.mlflow_key, "split": "validation",
    }  # fmt: skip


def _teacher(facts: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: finite(value) for name, value in facts["teacher"].items() if isinstance(value, int | float)}
    return {"kind": "teacher", "name": str(facts["teacher"]["address"]), "values": values}


def _label_only(home: SweepDir) -> list[dict[str, Any]]:
    """Return the label-only baseline of the selected student, with the student's sizes."""
    try:
        selection = home.selection()
        found = baseline_of(selection)
        sizes = selection["student"]["measures"] if selection else {}
    except (WorkFailed, KeyError, TypeError):  # a damaged selection: the next `select` writes it
        return []
    if not found:
        return []
    known = {name: finite(sizes[name]) for name in home.measures() if name in sizes and home.measures()[name].is_cost}
    return [{"kind": "label_only", "name": found["trial"], "values": {**known, found["measure"]: finite(found["value"])}}]


def _domain(domain: Domain) -> dict[str, Any]:
    if not isinstance(domain, Choice):
        return {"kind": "number", "log": domain.log}
    if all(isinstance(label, int | float) and not isinstance(label, bool) for label in domain.labels):
        return {"kind": "number", "log": False}
    return {"kind": "choice", "choices": list(domain.labels)}
