"""Code that runs a student of several inputs or label sequences on arrays by name, where tutelage is not installed.

A ragged input and its mask are two inputs. MLflow's PyTorch flavour cannot serve such a network.
"""

from __future__ import annotations

from typing import Any

from tutelage.networks.blank import argument_names
from tutelage.signature import Signature

SERVED = '''\
"""A student as `mlflow models serve` runs it: arrays in, logits out, by name if there are several."""

import json

import mlflow
import numpy
import torch


class Student(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["interface"], encoding="utf-8") as file:
            self.names = json.load(file)
        self.program = torch.export.load(context.artifacts["program"]).module()

    def predict(self, context, model_input, params=None):
        names = self.names["arguments"]
        given = [model_input[name] for name in names] if len(names) > 1 else [model_input]
        given = map(numpy.ascontiguousarray, given)
        with torch.inference_mode():
            found = self.program(*map(torch.from_numpy, given))
        found = [found] if isinstance(found, torch.Tensor) else found
        found = found if hasattr(found, "keys") else dict(zip(self.names["outputs"], found))
        logits = {name: found[name].numpy() for name in self.names["outputs"]}
        return logits if len(logits) > 1 else logits[self.names["outputs"][0]]


mlflow.models.set_model(Student())
'''


def is_several(signature: Signature) -> bool:
    """Return whether a network takes several arrays, such as a ragged input and its mask, or gives several."""
    return len(argument_names(signature)) > 1 or len(signature.outputs) > 1


def interface(signature: Signature) -> dict[str, Any]:
    """Return the names of the arguments and of the label sequences, in the network's order, as JSON values."""
    return {"arguments": argument_names(signature), "outputs": list(signature.classes)}
