"""A finished sweep as it is stored, made without Ray: students that quick plain training taught real digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tutelage.files import write_json
from tutelage.networks import checkpoint, cost
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump
from tutelage.training import inference
from tutelage.training.context import TrainingContext

TEACHER = {"address": "abc", "source": None, "accuracy": 0.99, "params": 20_000.0, "size_bytes": 80_000.0, "macs": 1e6}


def spec_tree(storage: Path, name: str = "stored") -> dict[str, Any]:
    return {
        "name": name, "storage": str(storage), "data": "digits", "teacher": {"model": "mlp", "epochs": 1, "accept_weak": True},
        "student": {"model": "mlp", "epochs": 1}, "search": {"trials": 4},
    }  # fmt: skip


def learnt(room: TrainingContext, model: Any, steps: int = 60) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network that has learnt the training digits, and its architecture."""
    architecture = room.architecture(model)
    built, train = checkpoint.seeded(architecture, 0), room.splits["train"]
    optimiser = torch.optim.Adam(built.parameters(), lr=2e-2)
    for _ in range(steps):
        loss = functional.cross_entropy(built(*train.take(slice(None)).arguments), train.targets["class"].values)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return built.eval(), architecture


def write_sweep(storage: Path, room: TrainingContext, models: list[Any], name: str = "stored") -> SweepDir:
    """Write a finished sweep with a student for each of `models`, the last of them selected."""
    home = sweeps.create(storage, name, dump(from_dict(spec_tree(storage, name)).resolved()))
    objectives = (objective("accuracy"), replace(objective("params"), reference=TEACHER["params"]))
    home.update(
        state="finished", run_id="run", objectives=[one.document() for one in objectives], teacher=TEACHER,
        fingerprint=room.fingerprint, elapsed_s=60.0, search_s=40.0,
    )  # fmt: skip
    for number, model in enumerate(models):
        home.ledger.append(_student(home, room, number, model))
    record = home.records()[-1]
    write_json(home.files.local_path("selection.json"), selection_of(name, record))
    return home


def _student(home: SweepDir, room: TrainingContext, number: int, model: Any) -> TrialRecord:
    built, architecture = learnt(room, model)
    checkpoint.write(home.student_path(f"t{number:04d}"), built, architecture)
    accuracy = inference.measured(built, room.built_task, room.splits["validation"])["accuracy"]
    sizes = {**cost.size(built), **cost.macs(built, room.signature)}
    return TrialRecord(
        number=number, state="finished", params={"student.model": next(iter(model))},
        config={"student": {"model": model, "epochs": 1}, "distillation": {"temperature": 2.0, "weight": 0.5}, "sparsity": {}},
        measures={"accuracy": accuracy, **sizes}, curve=({"epoch": 1.0},), elapsed_s=2.0,
    )  # fmt: skip


def selection_of(name: str, record: TrialRecord) -> dict[str, Any]:
    """Return a document as `tutelage select --json` prints it."""
    spread = {"mean": 0.95, "sd": 0.01, "interval": [0.93, 0.97]}
    taught = {**spread, "seeds": 3, "bound": 0.935}
    student = {"trial": record.trial_id, "measures": record.measures, "config": record.config}
    score = {"value": 0.94, "interval": [0.91, 0.96], "n": 360}
    return {
        "version": 3, "sweep": name, "measure": objective("accuracy").measure.document(),
        "policy": "knee", "reason": "it is the knee.", "student": student, "runner_up": None,
        "confirmed": {"seeds": 3, "baseline": 0.93, "distilled": taught, "label_only": spread, "gain": spread},
        "candidates": [{"trial": record.trial_id, "searched": 0.96, "change": -0.01, "confirmed": taught}],
        "regression": "It shrank a little.",
        "test": {**score, "evaluations": 2, "students": 2, "label_only": score, "teacher": score},
        "test_warning": "The test split has been evaluated 2 times.",
        "distillation": "Inconclusive: nothing to see.", "other_measures": {"agreement": 0.97, "teacher_kl_nats": 0.1},
        "capacity_gap": None, "transfer": None, "guard": None, "model": None,
    }  # fmt: skip
