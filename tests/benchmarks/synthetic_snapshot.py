"""A synthetic snapshot of any number of candidates, to try the explorer with; prints bytes and seconds of making it.

    python tests/benchmarks/synthetic_snapshot.py 100000 snapshot.json

The last argument may end in .gz, as the artifact in MLflow does.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tutelage import plugins
from tutelage.dashboard.header import described, reproducing
from tutelage.dashboard.rows import Rows
from tutelage.dashboard.snapshot import assembled, packed
from tutelage.objectives import losses, objective
from tutelage.pareto import non_dominated_mask
from tutelage.records.trial import State, TrialRecord

OBJECTIVES = (objective("accuracy"), objective("size_bytes"), objective("latency_ms"))
REFERENCE = {"accuracy": 0.0, "size_bytes": 4e6, "latency_ms": 10.0}
MODELS = ("convnet", "mlp", "resnet")
STARTED_S = 1_790_000_000


def record_of(number: int, draw: np.random.Generator) -> TrialRecord:
    """Return a trial whose accuracy grows with its size, with noise; a twentieth are stopped, failed or infeasible."""
    state: State = draw.choice(["finished"] * 57 + ["stopped", "failed", "infeasible"])
    width, temperature = int(draw.integers(2, 257)), float(draw.uniform(1, 8))
    params = 40.0 * width * width + 10
    share = 1 - 0.6 * params**-0.15 * np.exp(draw.normal(0, 0.15)) - 0.02 * abs(temperature - 4)
    measures = {
        "accuracy": round(float(np.clip(share, 0, 1)) * 1797) / 1797, "params": params, "size_bytes": 4 * params,
        "macs": 30 * params, "latency_ms": 1e-5 * params * float(np.exp(draw.normal(0, 0.3))) + 0.01,
        "calibration_error": float(draw.uniform(0, 0.1)), "agreement": float(np.clip(share + 0.02, 0, 1)),
    }  # fmt: skip
    values = {
        "student.model": str(draw.choice(MODELS)), "student.model.width": width, "distillation.temperature": temperature,
        "distillation.weight": float(draw.uniform(0, 0.9)), "sparsity.amount": float(draw.choice([0.0, 0.25, 0.5])),
    }  # fmt: skip
    return TrialRecord(
        number=number, state=state, config={}, params=values, measures=measures if state == "finished" else {},
        started_s=STARTED_S + 3.0 * number, elapsed_s=float(draw.uniform(1, 60)),
    )  # fmt: skip


def snapshot(count: int, seed: int = 0) -> dict[str, Any]:
    """Return a snapshot of `count` candidates with three objectives."""
    draw = np.random.default_rng(seed)
    records = [record_of(number, draw) for number in range(count)]
    finished = [one for one in records if one.state == "finished"]
    mask = non_dominated_mask(losses([one.measures for one in finished], OBJECTIVES))
    on_front = {one.trial_id for one, keep in zip(finished, mask, strict=True) if keep}
    rows = Rows(["student.model", "student.model.width", "distillation.temperature", "distillation.weight", "sparsity.amount"])
    for one in records:
        label = "front" if one.trial_id in on_front else "dominated" if one.state == "finished" else one.state
        rows.add(one, {one.trial_id: label})
    measures = {name: plugins.measure(name) for name in ("accuracy", *plugins.names("measures"))}
    run_ids = {one.trial_id: f"{one.number:032x}" for one in records}
    return assembled(_header(count), rows.document(run_ids), measures)


def _header(count: int) -> dict[str, Any]:
    names = ["accuracy", *(name for name in plugins.names("measures") if name != "accuracy")]
    return {
        "format": 1,
        "sweep": {
            "name": f"synthetic-{count}", "run_id": "0" * 32, "experiment_id": "1", "state": "finished", "seed": 0,
            "task": "image_classification", "data": "digits", "num_trials": count, "running": [], "notes": [],
            "commands": {"select": "tutelage select synthetic", "reproduce": reproducing("synthetic", "0" * 32)},
            "links": {"run": "../#/experiments/{experiment_id}/runs/{run_id}"},
            "objectives": [one.name for one in OBJECTIVES], "reference": REFERENCE, "primary": "accuracy",
            "constraints": [], "limits": [{"measure": "size_bytes", "op": "<=", "value": 40_000}], "policy": "knee",
            "policies": {name: {"options": {}, "takes": None} for name in plugins.names("policies")},
        },
        "measures": {name: described(plugins.measure(name), OBJECTIVES) for name in names},
        "baselines": [{"kind": "teacher", "name": "t", "values": {"accuracy": 0.97, "size_bytes": 4e6, "latency_ms": 9.0}}],
        "config": {
            "student.model": {"kind": "choice", "choices": list(MODELS)},
            "student.model.width": {"kind": "number", "log": True},
            "distillation.temperature": {"kind": "number", "log": False},
        },
        "num_judged": 1797,
    }  # fmt: skip


def main() -> None:
    """Write a snapshot of as many candidates as the first argument says to the file that the second one names."""
    count, path = int(sys.argv[1]), Path(sys.argv[2])
    document = snapshot(count)
    started_s = time.perf_counter()
    data = packed(document)
    elapsed_s = time.perf_counter() - started_s
    path.write_bytes(data if path.suffix == ".gz" else gzip.decompress(data))
    whole = len(json.dumps(document, separators=(",", ":")))
    print(f"{count:,} candidates: {whole:,} bytes of JSON, {len(data):,} with gzip, written in {elapsed_s:.2f} s")


if __name__ == "__main__":
    main()
