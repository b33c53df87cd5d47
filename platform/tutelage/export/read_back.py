"""The comparison of exported networks, run in a process without tutelage, with the student's outputs.

Real examples are run as batches of several sizes and, where they are ragged, of several lengths: each alone, together, and with
more padding. Outputs are compared at real steps only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import WorkFailed
from tutelage.export import isolated_python, table_rows
from tutelage.masks import at_stride
from tutelage.networks.blank import argument_names
from tutelage.networks.interface import ragged_source
from tutelage.signature import Signature
from tutelage.tasks import by_sequence

Array = NDArray[np.float32]
Arguments = tuple[Tensor, ...]
Kind = Literal["program", "weights", "onnx", "mlflow", "mlflow-onnx", "rows", "arrays"]

TOLERANCE = 1e-5  # of a float form's logits, absolute
LOGIT = 10.0  # larger logits may differ in proportion, as float32 is not more precise
BATCH_SIZES = (1, 7)  # beside the whole batch
MORE_PADDING = 3  # steps

_CODE = """
import gc, json, sys
gc.set_threshold(50_000)  # a quarter of the imports' time
sys.modules["tutelage"] = None  # importing it raises, as where it is not installed
import numpy, torch
scratch, plan = sys.argv[1], json.loads(sys.argv[2])
sequences = plan["sequences"]

def loaded(kind, places):
    if kind in ("rows", "arrays"):
        import mlflow
        mlflow.set_tracking_uri(places[0]); mlflow.set_registry_uri(places[0])
        served = mlflow.pyfunc.load_model(places[1])
        def run_served(given):
            named = given if kind == "rows" else given[0] if len(given) == 1 else dict(zip(plan["arguments"], given))
            found = served.predict(named)
            return found if isinstance(found, dict) else {sequences[0]: found}
        return run_served
    if kind == "mlflow-onnx":
        import mlflow
        mlflow.set_tracking_uri(places[0]); mlflow.set_registry_uri(places[0])
        served = mlflow.pyfunc.load_model(places[1])
        def run_onnx(given):
            found = served.predict(given[0] if len(given) == 1 else dict(zip(plan["arguments"], given)))
            return found if len(sequences) > 1 else dict(zip(sequences, found.values()))
        return run_onnx
    if kind == "onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(places[0], providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        names = sequences if len(sequences) == 1 else names
        return lambda given: dict(zip(names, session.run(None, dict(zip(plan["arguments"], given)))))
    if kind == "mlflow":
        import mlflow
        mlflow.set_tracking_uri(places[0]); mlflow.set_registry_uri(places[0])
        program = mlflow.pytorch.load_model(places[1])
    else:
        program = torch.export.load(places[0]).module()
    if kind == "weights":
        from safetensors.torch import load_file
        program.load_state_dict(load_file(places[1]))
    def run(given):
        found = program(*map(torch.from_numpy, given))
        found = [found] if isinstance(found, torch.Tensor) else found
        found = found if hasattr(found, "keys") else dict(zip(sequences, found))
        return {name: found[name].numpy() for name in sequences}
    return run

with torch.inference_mode():
    for form, (kind, places) in plan["forms"].items():
        run = loaded(kind, places)
        for case in range(plan["cases"]):
            if kind == "rows":
                import pandas
                given = pandas.read_json(f"{scratch}/case-{case}.json", dtype=False, convert_dates=False, precise_float=True)
            else:
                with numpy.load(f"{scratch}/case-{case}.npz") as file:
                    given = [file[f"arr_{number}"] for number in range(len(file.files))]
            found = run(given)
            numpy.savez(f"{scratch}/{form}-{case}.npz", *[found[name] for name in sequences])
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A batch of the examples `rows`, the student's logits for it by label sequence, and the masks of their real steps."""

    rows: slice
    arguments: Arguments
    expected: Mapping[str, Array]
    masks: Mapping[str, NDArray[np.bool_]]

    def difference(self, outputs: Mapping[str, Array]) -> float:
        """Return the largest absolute difference of a logit at a real step; infinity for other shapes."""
        return max(self._difference(name, outputs[name]) for name in self.expected)

    def _difference(self, name: str, found: Array) -> float:
        expected = self.expected[name]
        if found.shape != expected.shape:
            return float("inf")
        apart = np.abs(found - expected)
        apart = apart[self.masks[name]] if name in self.masks else apart
        return float(apart.max()) if apart.size else 0.0


def cases_of(model: nn.Module, signature: Signature, arguments: Arguments) -> list[Case]:
    """Return the batches that are compared, cut from the `arguments` of real examples, and the student's logits for them.

    Raises `WorkFailed` if the student's own logits at real steps depend on the padding beside them.
    """
    count = len(arguments[0])
    rows = [slice(size) for size in sorted({min(size, count) for size in (*BATCH_SIZES, count)})]
    if not any(spec.is_ragged for spec in signature.inputs):
        return [_case(model, signature, some, tuple(tensor[some] for tensor in arguments)) for some in rows]
    rows += [slice(row, row + 1) for row in range(1, min(max(BATCH_SIZES), count))]
    cases = [_case(model, signature, some, _resized(signature, arguments, some)) for some in rows]
    padded = _case(model, signature, slice(count), _resized(signature, arguments, slice(count), MORE_PADDING))
    _check_padding(cases, padded)
    return [*cases, padded]


def _case(model: nn.Module, signature: Signature, rows: slice, arguments: Arguments) -> Case:
    sources = {output.name: ragged_source(output, signature) for output in signature.outputs}
    places, expected = mask_places(signature), outputs_in_process(model, signature, arguments)
    masks = {
        name: at_stride(arguments[places[source.name]], expected[name].shape[1]).numpy()
        for name, source in sources.items()
        if source
    }
    return Case(rows=rows, arguments=arguments, expected=expected, masks=masks)


def _resized(signature: Signature, arguments: Arguments, rows: slice, more: int = 0) -> Arguments:
    """Return the arguments of `rows`, ragged inputs cut to the longest of them and then padded by `more` steps."""
    found = [tensor[rows] for tensor in arguments]
    for place in mask_places(signature).values():
        longest = max(1, int(found[place].sum(dim=1).max()))
        for one in (place - 1, place):
            steps = found[one][:, :longest]
            found[one] = functional.pad(steps, (*[0, 0] * (steps.ndim - 2), 0, more)).contiguous()
    return tuple(found)


def mask_places(signature: Signature) -> dict[str, int]:
    """Return the position of each ragged input's mask among the arguments; the input precedes it."""
    names = argument_names(signature)
    return {spec.name: names.index(spec.name) + 1 for spec in signature.inputs if spec.is_ragged}


def outputs_in_process(model: nn.Module, signature: Signature, arguments: Arguments) -> dict[str, Array]:
    """Return the logits of every label sequence of `model`, run in this process."""
    with torch.inference_mode():
        given = by_sequence(model.eval()(*arguments), list(signature.classes))
    return {name: logits.numpy() for name, logits in given.items()}


def _check_padding(cases: Sequence[Case], padded: Case) -> None:
    for case in cases:
        beside = {
            name: logits[case.rows, : case.expected[name].shape[1]] if name in case.masks else logits[case.rows]
            for name, logits in padded.expected.items()
        }
        if not (apart := case.difference(beside)) <= allowed(cases):
            raise WorkFailed(
                f"the student's logits depend on padding: with less of it they differ by {apart:.3g}. Its network must not use "
                "steps at which the mask is False."
            )


def allowed(cases: Sequence[Case]) -> float:
    """Return the largest allowed difference: 1e-5, or a millionth of the largest logit where that is above 10."""
    largest = max(float(np.abs(logits).max()) for case in cases for logits in case.expected.values())
    return TOLERANCE * max(1.0, largest / LOGIT)


def differences(
    cases: Sequence[Case], signature: Signature, forms: Mapping[str, tuple[Kind, Sequence[str]]]
) -> dict[str, float]:  # fmt: skip
    """Return by form the largest difference of its logits, computed where tutelage is not installed, from the student's.

    A form is its kind and places: `program` and `onnx` a file, `weights` a program's file and the weights', the others a
    tracking URI and a model URI: `mlflow` and `mlflow-onnx` of a network, `rows` of a model that takes rows of a table,
    `arrays` of one that takes arrays by name. Raises `WorkFailed` if one cannot be loaded or run there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(cases):
            np.savez(Path(scratch) / f"case-{number}.npz", *[tensor.numpy() for tensor in case.arguments])
            if table_rows.is_table(signature):
                rows = table_rows.rows_of(case.arguments[0].numpy(), signature.inputs[0])
                (Path(scratch) / f"case-{number}.json").write_text(json.dumps(rows), encoding="utf-8")
        plan = {
            "forms": forms, "cases": len(cases), "arguments": argument_names(signature),
            "sequences": list(signature.classes),
        }  # fmt: skip
        if failure := isolated_python.run(_CODE, [scratch, json.dumps(plan)], scratch):
            raise WorkFailed(f"an exported form cannot be read back where tutelage is not installed: {failure}")
        return {form: max(_read(Path(scratch), form, number, case) for number, case in enumerate(cases)) for form in forms}


def _read(scratch: Path, form: str, number: int, case: Case) -> float:
    with np.load(scratch / f"{form}-{number}.npz") as file:
        logits = [file[f"arr_{place}"] for place in range(len(file.files))]
    return case.difference(dict(zip(case.expected, logits, strict=True)))
