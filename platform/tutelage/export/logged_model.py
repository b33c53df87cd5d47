"""A student as a model in MLflow, with its signature, read back in a process without tutelage.

It is a torch.export program, or the ONNX file of an int8 candidate.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType
from torch import Tensor, nn

from tutelage.errors import WorkFailed
from tutelage.export import read_back, served_arrays, table_rows
from tutelage.networks import onnx_format
from tutelage.networks.blank import argument_names
from tutelage.networks.interface import Port, arguments_of, outputs_of
from tutelage.networks.program import program_bytes, program_of
from tutelage.signature import Signature

REQUIREMENTS = ("torch", "numpy")
ONNX_REQUIREMENTS = ("onnx", "onnxruntime", "numpy")

_COLUMN_TYPES: dict[str, DataType | AnyType] = {
    "number": AnyType(),  # type: ignore[no-untyped-call]  # MLflow refuses integers for a column of doubles
    "boolean": DataType.boolean,
    "words": DataType.string,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A sweep's run in MLflow, under which its models are logged."""

    uri: str
    experiment_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network to be registered: its signature, the `arguments` of two or more real examples, and its `tags`.

    `files`, such as its weights and architecture, are kept beside the program. With `int8_file`, this file is registered, and
    `model` runs it.
    """

    model: nn.Module
    signature: Signature
    arguments: tuple[Tensor, ...]
    tags: Mapping[str, str]
    files: Sequence[Path] = ()
    int8_file: Path | None = None

    def __post_init__(self) -> None:
        assert len(self.arguments[0]) >= 2, "a batch of one would fix the exported batch size"
        self.model.eval()


def requirements(packages: Sequence[str] = REQUIREMENTS) -> list[str]:
    """Return the packages that a registered student needs, pinned to those installed; torch without its build's suffix."""
    return [f"{package}=={version(package).split('+')[0]}" for package in packages]


def log_model(client: mlflow.MlflowClient, run: Run, candidate: Candidate, name: str) -> tuple[str, float]:
    """Log a candidate in MLflow; return the ID of the logged model and its largest difference from the candidate.

    MLflow's own functions must point to the run's URI. Raises `WorkFailed` if the candidate cannot be logged, or if the logged
    model's logits differ; then it is deleted.
    """
    cases = read_back.cases_of(candidate.model, candidate.signature, candidate.arguments)
    model_id = _log(run, candidate, name)
    try:
        distance = distance_when_read_back(
            run.uri, f"models:/{model_id}", cases, candidate.signature, is_onnx=candidate.int8_file is not None
        )
        if not distance <= (limit := read_back.allowed(cases)):
            raise WorkFailed(
                f"the logged model's logits differ by {distance:g} from the student's (allowed: {limit:g}), so it was not "
                "registered."
            )
    except BaseException:
        client.delete_logged_model(model_id)
        raise
    return model_id, distance


def _log(run: Run, candidate: Candidate, name: str) -> str:
    mlflow.set_experiment(experiment_id=run.experiment_id)
    with mlflow.start_run(run_id=run.run_id), tempfile.TemporaryDirectory() as scratch:
        try:
            info = _logger_of(candidate)(candidate, name, Path(scratch))
        except Exception as error:
            _forget_failed(run.run_id)
            raise WorkFailed(f"the student could not be logged as a model: {error}") from error
    return str(info.model_id)


def _logger_of(candidate: Candidate) -> Callable[[Candidate, str, Path], Any]:
    if candidate.int8_file:
        return _log_int8
    if table_rows.is_table(candidate.signature):
        return _log_rows
    return _log_arrays if served_arrays.is_several(candidate.signature) else _log_network


def _log_int8(candidate: Candidate, name: str, scratch: Path) -> Any:
    """Log the int8 file in MLflow's ONNX flavour; the file itself is also beside it, as it was measured."""
    assert candidate.int8_file is not None
    return mlflow.onnx.log_model(
        onnx_format.load(candidate.int8_file), name=name, signature=_mlflow_signature(candidate),
        pip_requirements=requirements(ONNX_REQUIREMENTS), tags=dict(candidate.tags),
        extra_files=[str(file) for file in (*candidate.files, *_example_file(candidate, scratch))],
    )  # fmt: skip


def _log_network(candidate: Candidate, name: str, scratch: Path) -> Any:
    """Log a network of one input and one label sequence in MLflow's PyTorch flavour.

    MLflow traces it for the free dimensions of its signature.
    """
    return mlflow.pytorch.log_model(
        candidate.model, name=name, signature=_mlflow_signature(candidate), input_example=candidate.arguments[0].numpy(),
        pip_requirements=requirements(), tags=dict(candidate.tags), serialization_format="pt2",
        extra_files=[str(file) for file in candidate.files],
    )  # fmt: skip


def _log_rows(candidate: Candidate, name: str, scratch: Path) -> Any:
    """Log a model that takes rows of a table by column name: a file of code, the program, and its preprocessing."""
    spec = candidate.signature.inputs[0]
    rows = pd.DataFrame(table_rows.rows_of(candidate.arguments[0].numpy(), spec))
    return _log_code(candidate, name, scratch, table_rows.served(), {"preprocessing": table_rows.preprocessing(spec)}, rows)


def _log_arrays(candidate: Candidate, name: str, scratch: Path) -> Any:
    """Log a model that takes or gives arrays by name: a file of code, the program, and the names in order."""
    names = served_arrays.interface(candidate.signature)
    example = {key: tensor[:2].numpy() for key, tensor in zip(names["arguments"], candidate.arguments, strict=True)}
    given = example if len(example) > 1 else next(iter(example.values()))
    return _log_code(candidate, name, scratch, served_arrays.SERVED, {"interface": names}, given)


def _log_code(
    candidate: Candidate, name: str, scratch: Path, code: str, documents: Mapping[str, Any], example: Any
) -> Any:  # fmt: skip
    """Log a file of code that MLflow runs, with the artifacts `program` and `documents`, which are written as JSON."""
    script, program = scratch / "serve.py", scratch / "model.pt2"
    script.write_text(code, encoding="utf-8")
    program.write_bytes(program_bytes(program_of(candidate.model, candidate.signature), {}))
    for key, document in documents.items():
        (scratch / f"{key}.json").write_text(json.dumps(document), encoding="utf-8")
    artifacts = {key: str(scratch / f"{key}.json") for key in documents} | {file.name: str(file) for file in candidate.files}
    return mlflow.pyfunc.log_model(
        python_model=str(script), name=name, signature=_mlflow_signature(candidate), input_example=example,
        artifacts={"program": str(program), **artifacts}, pip_requirements=requirements(), tags=dict(candidate.tags),
    )  # fmt: skip


def _mlflow_signature(candidate: Candidate) -> ModelSignature:
    """Return the signature in MLflow's terms; a single input has no name there, so that a request needs none."""
    if table_rows.is_table(candidate.signature):
        given = candidate.signature.inputs[0].columns
        columns: list[ColSpec | TensorSpec] = [ColSpec(_COLUMN_TYPES[one.kind], one.name) for one in given]
        return ModelSignature(inputs=Schema(columns), outputs=_schema(outputs_of(candidate.signature, candidate.model)))
    arguments, outputs = arguments_of(candidate.signature), outputs_of(candidate.signature, candidate.model)
    return ModelSignature(inputs=_schema(arguments), outputs=_schema(outputs))


def _schema(ports: Sequence[Port]) -> Schema:
    def spec(port: Port) -> TensorSpec:
        shape = tuple(size if isinstance(size, int) else -1 for size in port.shape)
        return TensorSpec(np.dtype(port.dtype), shape, port.name if len(ports) > 1 else None)

    return Schema([spec(port) for port in ports])


def _example_file(candidate: Candidate, scratch: Path) -> list[Path]:
    """Return the file of an example of several inputs by name, which MLflow does not keep itself; none for a single input."""
    if len(candidate.arguments) == 1:
        return []
    named = zip(argument_names(candidate.signature), candidate.arguments, strict=True)
    path = scratch / "input_example.json"
    path.write_text(json.dumps({"inputs": {name: tensor[:2].tolist() for name, tensor in named}}), encoding="utf-8")
    return [path]


def _forget_failed(run_id: str) -> None:
    """Delete the incomplete model that a failed log leaves behind."""
    experiment_id = mlflow.get_run(run_id).info.experiment_id
    for model in mlflow.search_logged_models([experiment_id], output_format="list"):
        if model.source_run_id == run_id and str(model.status).endswith("FAILED"):
            mlflow.MlflowClient().delete_logged_model(model.model_id)


def distance_when_read_back(
    uri: str, model_uri: str, cases: Sequence[read_back.Case], signature: Signature, *, is_onnx: bool = False
) -> float:  # fmt: skip
    """Return the largest absolute difference of the logged model's logits from those of `cases`, computed without tutelage."""
    kind: read_back.Kind = "mlflow"
    if is_onnx:
        kind = "mlflow-onnx"
    elif table_rows.is_table(signature):
        kind = "rows"
    elif served_arrays.is_several(signature):
        kind = "arrays"
    return read_back.differences(cases, signature, {"logged": (kind, [uri, model_uri])})["logged"]
