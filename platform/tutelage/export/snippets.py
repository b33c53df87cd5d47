"""The code of a model card, which runs an exported student with numpy and torch or onnxruntime alone."""

from __future__ import annotations

import json

from tutelage.export.table_rows import example_row, functions, is_table
from tutelage.signature import InputSpec, Signature

_MANIFEST = """\
import json

import numpy
{imports}
with open("manifest.json", encoding="utf-8") as file:
    manifest = json.load(file)
"""

_PLAIN = (
    _MANIFEST
    + """\
taken, given = manifest["inputs"][0], manifest["outputs"][0]
axes = (1, -1) + (1,) * (len(taken["shape"]) - 2)
mean = numpy.array(taken["normalisation"]["mean"] or [0], "float32").reshape(axes)
std = numpy.array(taken["normalisation"]["std"] or [1], "float32").reshape(axes)
{load}

def logits_of(stored):
    \"\"\"Return the logits [n, classes] of examples [n, …] as the data hold them.\"\"\"
    inputs = ((numpy.asarray(stored, "float32") - mean) / std).astype("float32")
    return {run}


logits = logits_of(numpy.zeros({example}))
print([given["class_names"][best] for best in logits.argmax(axis=1)])
"""
)

_TABLE = """\
import json
import warnings

import numpy
{imports}
{functions}

with open("manifest.json", encoding="utf-8") as file:
    manifest = json.load(file)
taken, given = manifest["inputs"][0], manifest["outputs"][0]
mean, std = (numpy.array(taken["normalisation"][part], "float64") for part in ("mean", "std"))
{load}

def logits_of(rows):
    \"\"\"Return the logits [n, classes] of rows as the data hold them: a data frame, or mappings by column name.\"\"\"
    numbers = numbers_of(rows, taken["columns"])
    if unseen := unseen_words(numbers, taken["columns"]):
        warnings.warn(f"rows with a word that training lacks, by column: {{unseen}}")
    inputs = ((numbers - mean) / std).astype("float32")
    return {run}


logits = logits_of([{example}])
print([given["class_names"][best] for best in logits.argmax(axis=1)])
"""

_SEVERAL = (
    _MANIFEST
    + """\
{load}
names = [one["sequence"] for one in manifest["outputs"]]


def normalised(values, about):
    \"\"\"Return one example's input as the network takes it.\"\"\"
    values = numpy.asarray(values, about["dtype"])
    if not about["normalisation"]["mean"]:
        return values
    shape = [1] * values.ndim
    shape[1 if about["mask"] else 0] = -1
    mean, std = (numpy.array(about["normalisation"][part], "float32").reshape(shape) for part in ("mean", "std"))
    return (values - mean) / std


def arguments_of(examples):
    \"\"\"Return the network's arguments by name: inputs that differ in length are padded, and followed by a mask.\"\"\"
    arguments = {{}}
    for about in manifest["inputs"]:
        if about["kind"] == "mask":
            continue
        parts = [normalised(example[about["name"]], about) for example in examples]
        if about["mask"]:
            lengths = numpy.array([len(part) for part in parts])
            padding = [numpy.zeros((max(1, *lengths) - len(part), *part.shape[1:]), part.dtype) for part in parts]
            parts = [numpy.concatenate(pair) for pair in zip(parts, padding)]
        arguments[about["name"]] = numpy.stack(parts)
        if about["mask"]:
            arguments[about["mask"]] = numpy.arange(len(parts[0])) < lengths[:, None]
    return arguments


def logits_of(examples):
    \"\"\"Return the logits of every label sequence by name, for examples given as mappings of inputs by name.

    They are [n, classes] or [n, steps, classes]; those of steps past an example's end mean nothing.
    \"\"\"
    arguments = arguments_of(examples)
{run}


logits = logits_of([{example}])
for about in manifest["outputs"]:
    best = logits[about["sequence"]][0].argmax(axis=-1).reshape(-1)
    print(about["sequence"], [about["class_names"][one] for one in best])
"""
)

_RUN_PROGRAM = """\
    found = program(*map(torch.from_numpy, arguments.values()))
    found = [found] if isinstance(found, torch.Tensor) else found
    found = found if isinstance(found, dict) else dict(zip(names, found))
    return {name: found[name].detach().numpy() for name in names}"""
_RUN_ONNX = """\
    return dict(zip(names, session.run([one["name"] for one in manifest["outputs"]], arguments)))"""


def is_plain(signature: Signature) -> bool:
    """Return whether a network takes one dense float input and gives one label sequence of one step."""
    (first, *more), (output, *others) = signature.inputs, signature.outputs
    return not (more or others or first.is_ragged or output.steps) and first.dtype == "float32"


def with_torch(signature: Signature, file: str) -> str:
    """Return the code that runs the program in `file`."""
    load = f'program = torch.export.load("{file}").module()\n'
    if is_plain(signature):
        return _plain(signature, "import torch\n", load, "program(torch.from_numpy(inputs)).detach().numpy()")
    return _SEVERAL.format(imports="import torch\n", load=load, run=_RUN_PROGRAM, example=_example(signature))


def with_onnxruntime(signature: Signature, file: str) -> str:
    """Return the code that runs the ONNX file `file`."""
    load = f'session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])\n'
    if is_plain(signature):
        return _plain(signature, "import onnxruntime\n", load, 'session.run(None, {taken["name"]: inputs})[0]')
    return _SEVERAL.format(imports="import onnxruntime\n", load=load, run=_RUN_ONNX, example=_example(signature))


def _plain(signature: Signature, imports: str, load: str, run: str) -> str:
    if is_table(signature):
        example = repr(example_row(signature.inputs[0]))
        return _TABLE.format(imports=imports, load=load, run=run, functions=functions(), example=example)
    example = f"({', '.join(map(str, (1, *signature.example_shape)))})"
    return _PLAIN.format(imports=imports, load=load, run=run, example=example)


def _example(signature: Signature) -> str:
    return "{" + ", ".join(f"{json.dumps(spec.name)}: {_zeros(spec)}" for spec in signature.inputs) + "}"


def _zeros(spec: InputSpec) -> str:
    return f'numpy.zeros({spec.typical_shape}, "{spec.dtype}")'
