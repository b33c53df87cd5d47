"""A candidate's details, which are not in the snapshot: curves, layers before and after, settings, lineage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Run

from tutelage import initial_weights, plugins
from tutelage.dashboard.reader import Reader
from tutelage.errors import TutelageError
from tutelage.records import sweeps
from tutelage.redaction import redacted

HIDDEN = ("mlflow.", "tutelage.")
STUDENT = re.compile(r"t[0-9]{4,}(\.[0-9]+)?")  # a candidate's name, which is that of a directory


def detail(reader: Reader, run_id: str, name: str, storage: str = "") -> dict[str, Any]:
    """Return the details of a candidate of the sweep of a run; its layers are known where `storage` has its files."""
    document, run = reader.candidate(run_id, name)
    return {
        "id": name,
        "run_id": run.info.run_id,
        "curves": reader.curves(run),
        "layers": layers(storage, run_id, name) if storage else [],
        "settings": redacted(dict(sorted(run.data.params.items()))),
        "lineage": _lineage(document, run),
        "command": str(document["sweep"]["commands"].get("reproduce", "")),
        "error": redacted(run.data.tags.get("error")),
    }


def _lineage(document: Mapping[str, Any], run: Run) -> list[list[str]]:
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(HIDDEN)}
    shown = [["sweep", document["sweep"]["name"]], *([key, value] for key, value in sorted(tags.items()) if key != "sweep")]
    return [[str(key), str(redacted({key: value})[key])] for key, value in shown]


def layers(storage: str, run_id: str, name: str) -> list[dict[str, Any]]:
    """Return each weight's shape before and after removal, None where it is gone; none for networks of a user's own code.

    The sweep is that of the MLflow run: another MLflow may have a sweep of the same name.
    """
    from tutelage.networks import checkpoint

    if not STUDENT.fullmatch(name):  # a name in a snapshot could lead out of the sweep's directory
        return []
    try:
        home = sweeps.find(storage, run_id)
        directory = home.student_path(name)
        architecture = checkpoint.read_architecture(directory)
        if plugins.own_code(architecture):
            return []
        with initial_weights.replaced():
            whole = checkpoint.blank({key: value for key, value in architecture.items() if key != "surgeries"})
            buffers = {key for key, _ in checkpoint.blank(architecture).named_buffers(remove_duplicate=False)}
        weights = checkpoint.read_weights(directory)
    except (TutelageError, OSError):
        return []
    before = {key: list(tensor.shape) for key, tensor in whole.named_parameters(remove_duplicate=False)}
    after = {key: list(tensor.shape) for key, tensor in weights.items() if key not in buffers}
    return [{"name": key, "before": before.get(key), "after": after.get(key)} for key in dict.fromkeys([*before, *after])]
