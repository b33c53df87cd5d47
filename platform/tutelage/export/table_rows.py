"""Code that runs a student on the rows of a table, by column name, where tutelage is not installed."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import Any

import numpy as np

from tutelage.data import _rows
from tutelage.signature import InputSpec, Signature

_SERVED = """\
\"\"\"A student on the rows of a table, as `mlflow models serve` runs it: columns by name in, logits [n, classes] out.\"\"\"

import json
import warnings

import mlflow
import torch

{functions}

class Student(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["preprocessing"], encoding="utf-8") as file:
            self.taken = json.load(file)
        self.program = torch.export.load(context.artifacts["program"]).module()

    def predict(self, context, model_input, params=None):
        numbers = numbers_of(model_input, self.taken["columns"])
        if unseen := unseen_words(numbers, self.taken["columns"]):
            warnings.warn(f"rows with a word that training lacks, by column: {{unseen}}")
        mean, std = (np.array(self.taken[part]) for part in ("mean", "std"))
        with torch.inference_mode():
            return self.program(torch.from_numpy(((numbers - mean) / std).astype("float32"))).numpy()


mlflow.models.set_model(Student())
"""


def is_table(signature: Signature) -> bool:
    """Return whether the first input of a network is made of the columns of a table."""
    return bool(signature.inputs[0].columns)


def functions() -> str:
    """Return the source of the functions that turn rows into numbers, which needs NumPy alone."""
    return inspect.getsource(_rows).partition("import annotations\n")[2].strip() + "\n"


def served() -> str:
    """Return the file that MLflow runs; beside it are the artifacts `program` and `preprocessing`."""
    return _SERVED.format(functions=functions())


def preprocessing(spec: InputSpec) -> dict[str, Any]:
    """Return the columns, mean and deviation of an input as JSON values."""
    return {"columns": [asdict(column) for column in spec.columns], "mean": list(spec.mean), "std": list(spec.std)}


def rows_of(inputs: np.ndarray, spec: InputSpec) -> list[dict[str, Any]]:
    """Return the rows whose numbers are `inputs` `[n, width]`, which are normalised."""
    return _rows.rows_of(inputs * np.array(spec.std) + np.array(spec.mean), preprocessing(spec)["columns"])


def example_row(spec: InputSpec) -> dict[str, Any]:
    """Return a row for an example: means, and the first word of each column."""
    first = np.concatenate([[1.0] + [0.0] * (column.width - 1) if column.words else [np.nan] for column in spec.columns])
    mean = [float(f"{value:.4g}") for value in spec.mean]
    (row,) = _rows.rows_of(np.where(np.isnan(first), mean, first)[np.newaxis], preprocessing(spec)["columns"])
    return row
