"""A snapshot made from the runs of MLflow themselves: for a sweep without one, and for runs that others made.

It is slow (MLflow gives 400 runs a second) and knows less: an interval and a policy's choice are not in the runs.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from tutelage import plugins
from tutelage.dashboard.header import RUN_LINK, described
from tutelage.dashboard.rows import finite
from tutelage.dashboard.snapshot import as_setting
from tutelage.measure import Measure
from tutelage.pareto import non_dominated_mask
from tutelage.records.mlflow_runs import runs
from tutelage.redaction import redact

MOST = 50_000  # runs that are read
_LESS_IS_BETTER = re.compile(
    r"loss|error|latency|size|params|bytes|macs|flops|time|seconds|duration|memory|cost|perplexity|_ms$|_s$"
)
_HIDDEN = ("train/", "system/", "guard/", "front/")  # metrics that are no measures of a finished student
STATES = {"RUNNING": "running", "FINISHED": "finished", "KILLED": "stopped"}


def snapshot_of_runs(client: MlflowClient, parent: Run, note: str) -> dict[str, Any]:
    """Return a snapshot of the child runs of a run, in the order in which they ended; `note` says why, to the reader."""
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    found = list(islice(runs(client, [parent.info.experiment_id], query, ViewType.ACTIVE_ONLY), MOST))
    ended = sorted((run for run in found if run.info.status != "RUNNING"), key=lambda run: run.info.end_time or 0)
    measures, values = _measured(ended)
    primary, objectives = _objectives(client, parent, measures, values)
    on_front = _on_front(ended, objectives, measures, values)
    names = sorted({name for run in ended for name in run.data.params} - {"data", "task", "seed", "teacher"})
    return {
        "format": 1, "n": len(ended), "revision": uuid.uuid4().hex, "is_champion": None,
        "sweep": {**_sweep(parent, found, note), "primary": primary, "objectives": objectives,
                  "reference": dict.fromkeys(objectives)},
        "measures": {name: described(one) for name, one in measures.items()}, "baselines": [],
        **_columns(ended, on_front),
        "values": values, "last": {}, "low": {}, "high": {}, "mean": {}, "seeds": [None] * len(ended),
        "config": {name: as_setting(name, None, [_parsed(run.data.params.get(name)) for run in ended]) for name in names},
    }  # fmt: skip


def _sweep(parent: Run, found: Sequence[Run], note: str) -> dict[str, Any]:
    running = [run for run in found if run.info.status == "RUNNING"]
    return {
        "name": parent.data.tags.get("sweep", parent.info.run_name), "run_id": parent.info.run_id,
        "experiment_id": parent.info.experiment_id, "state": STATES.get(parent.info.status, "failed"),
        "started_at": parent.info.start_time, "updated_at": time.time_ns() // 1_000_000,
        "task": parent.data.params.get("task", ""), "data": redact(parent.data.params.get("data", "")),
        "seed": _parsed(parent.data.params.get("seed")), "num_trials": None,
        "hypervolume": finite(parent.data.metrics.get("front/hypervolume")), "notes": [note], "constraints": [], "limits": [],
        "elapsed_s": (parent.info.end_time - parent.info.start_time) / 1000 if parent.info.end_time else None,
        "running": [{"trial": 0, "id": str(run.info.run_name), "epoch": None, "value": None} for run in running],
        "policies": {name: {"options": {}, "takes": None} for name in plugins.names("policies")}, "policy": "",
        "commands": {}, "links": {"run": RUN_LINK},
    }  # fmt: skip


def _columns(ended: Sequence[Run], on_front: Sequence[bool]) -> dict[str, list[Any]]:
    labels = [run.data.tags.get("pareto", "") for run in ended]
    names = [run.data.tags.get("trial_id", str(run.info.run_name)) for run in ended]
    counts = Counter(names)
    states = [STATES.get(run.info.status, "failed") for run in ended]
    return {
        "id": [name if counts[name] == 1 else run.info.run_id for name, run in zip(names, ended, strict=True)],
        "trial": list(range(len(ended))), "candidate": [0] * len(ended), "parent": [-1] * len(ended),
        "run_id": [run.info.run_id for run in ended],
        "state": ["infeasible" if label == "infeasible" and state != "finished" else state
                  for label, state in zip(labels, states, strict=True)],
        "is_feasible": [state == "finished" and label in ("", "front", "dominated")
                        for label, state in zip(labels, states, strict=True)],
        "is_on_front": list(on_front), "finished_at": [run.info.end_time for run in ended],
        "provenance": ["inherited" if run.data.tags.get("candidate.inherited") == "true" else "scratch" for run in ended],
    }  # fmt: skip


def _measured(ended: Sequence[Run]) -> tuple[dict[str, Measure], dict[str, list[float | None]]]:
    """Return the measures that the runs have by name, and their values."""
    known = {one.mlflow_key: one for one in map(plugins.measure, plugins.names("measures"))}
    keys = [key for key in dict.fromkeys(key for run in ended for key in run.data.metrics) if _is_shown(key)]
    measures: dict[str, Measure] = {}
    values: dict[str, list[float | None]] = {}
    taken = {known[key].name for key in keys if key in known}
    for key in keys:
        measure = known.get(key) or _guessed(key, {*measures, *taken})
        measures[measure.name] = measure
        values[measure.name] = [finite(run.data.metrics.get(key)) for run in ended]
    return measures, values


def _is_shown(key: str) -> bool:
    return not key.startswith(_HIDDEN) and "/log10_" not in key and not key.startswith("quality/confirmed_")


def _guessed(key: str, taken: Collection[str]) -> Measure:
    """Return a measure for somebody else's metric; which direction is better is guessed from its name."""
    name = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_") or "metric"
    name = name if name[0].isalpha() else f"m_{name}"
    while name in taken:
        name += "_"
    direction: Any = "minimise" if _LESS_IS_BETTER.search(key.lower()) else "maximise"
    return Measure(
        name=name, label=key, unit="", direction=direction, meaning="a metric in MLflow", format=".4g", mlflow_key=key
    )


def _objectives(
    client: MlflowClient, parent: Run, measures: Mapping[str, Measure], values: Mapping[str, Sequence[float | None]]
) -> tuple[str, list[str]]:
    """Return the primary measure, that of the experiment if it has one, and with it a measure that is better when lower."""
    tags = client.get_experiment(parent.info.experiment_id).tags
    by_key = {measure.mlflow_key: name for name, measure in measures.items()}
    full = sorted(measures, key=lambda name: sum(value is None for value in values[name]))
    better = [name for name in full if measures[name].direction == "maximise"]
    primary = by_key.get(tags.get("mlflow.experiment.primaryMetric.name", "")) or next(iter(better or full), "")
    preferred = [name for name in ("params", "size_bytes") if name in measures]
    other = next((name for name in [*preferred, *full] if name != primary and measures[name].direction == "minimise"), None)
    other = other or next((name for name in full if name != primary), None)
    return primary, [name for name in (primary, other) if name]


def _on_front(
    ended: Sequence[Run],
    objectives: Sequence[str],
    measures: Mapping[str, Measure],
    values: Mapping[str, Sequence[float | None]],
) -> list[bool]:
    """Return whether each run is on the front: as it is tagged, or among the finished runs that have both objectives."""
    if any("pareto" in run.data.tags for run in ended):
        return [run.data.tags.get("pareto") == "front" for run in ended]
    found = [False] * len(ended)
    rows = [[values[name][place] for name in objectives] for place in range(len(ended))]
    whole = [place for place, row in enumerate(rows) if None not in row and ended[place].info.status == "FINISHED"]
    if whole and objectives:
        signs = np.array([measures[name].sign for name in objectives])
        for place, keep in zip(whole, non_dominated_mask(np.array([rows[place] for place in whole]) * signs), strict=True):
            found[place] = bool(keep)
    return found


def _parsed(text: str | None) -> Any:
    """Return a param as the number or the text that it is; None for one that is inactive."""
    if text is None or text in ("none", "None", ""):
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return finite(number) if "." in text or "e" in text.lower() else int(text) if np.isfinite(number) else text
