"""Every exported form read back in a process that has no tutelage, and its answers compared with the student's."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import WorkFailed
from tutelage.export import bundle, isolated_python, load
from tutelage.files import write_atomically
from tutelage.networks import checkpoint

TOLERANCE = 1e-5  # of an unquantised form's logits, absolute


LOGIT = 10.0  # larger ones are let differ in proportion: float32 itself is only that fine


BATCH_SIZES = (1, 7)  # beside the whole batch


_ANSWER = """
import json, sys
sys.modules["tutelage"] = None  # as where it is not installed: importing it raises
import numpy, torch
inputs, outputs, sizes, forms = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
rows = torch.from_numpy(numpy.load(inputs))

def answering(form, paths):
    if form.startswith("onnx"):
        import onnxruntime
        session = onnxruntime.InferenceSession(paths[0], providers=["CPUExecutionProvider"])
        return lambda some: session.run(None, {session.get_inputs()[0].name: some.numpy()})[0]
    program = torch.export.load(paths[0]).module()
    if form == "weights":
        from safetensors.torch import load_file
        program.load_state_dict(load_file(paths[1]))
    return lambda some: program(some).numpy()

with torch.inference_mode():
    for form, paths in forms.items():
        answer = answering(form, paths)
        for size in sizes:
            numpy.save(f"{outputs}/{form}-{size}.npy", answer(rows[:size]))
"""


def differences(draft: bundle.Draft, inputs: Tensor) -> dict[str, float]:
    """Return by form the largest absolute difference of its logits from the student's on real `inputs` `[n, …]`.

    Every form answers a single example, seven, and all. The weights are read with tutelage here, and without it there,
    into the graph of the program. Raises `WorkFailed` where an unquantised form is more than 1e-5 away, or, where the
    largest logit is above 10, more than a millionth of it.
    """
    sizes = sorted({min(size, len(inputs)) for size in (*BATCH_SIZES, len(inputs))})
    with torch.inference_mode():
        expected = {size: draft.model(inputs[:size]).numpy() for size in sizes}
    answered = _answers_elsewhere(draft, inputs, sizes)
    if "weights" in answered:
        reread, _ = checkpoint.read(draft.directory)
        with torch.inference_mode():
            answered["weights"] += [reread(inputs[:size]).numpy() for size in sizes]
    found = {
        form: max(_distance(answer, expected[len(answer)]) for answer in its_answers) for form, its_answers in answered.items()
    }
    allowed = TOLERANCE * max(1.0, max(float(np.abs(answer).max()) for answer in expected.values()) / LOGIT)
    wrong = {form: by for form, by in found.items() if form in bundle.FLOAT_FORMS and not by <= allowed}
    if wrong:
        listed = ", ".join(f"{form} by {by:.3g}" for form, by in wrong.items())
        raise WorkFailed(f"an exported form answers otherwise than the student: {listed} (at most {allowed:.3g} is let pass).")
    return found


def _distance(answer: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(answer - expected).max()) if answer.shape == expected.shape else float("inf")


def _answers_elsewhere(draft: bundle.Draft, inputs: Tensor, sizes: list[int]) -> dict[str, list[np.ndarray]]:
    with tempfile.TemporaryDirectory() as scratch:
        asked, program = Path(scratch) / "inputs.npy", draft.path("program")
        np.save(asked, inputs.numpy())
        if not program.exists():
            program = Path(scratch) / bundle.PROGRAM
            made = bundle.program_of(draft.model, draft.architecture)
            write_atomically(program, bundle.program_bytes(made, load.described(draft.architecture)))
        forms = {form: [str(draft.path(form).resolve())] for form in draft.written()}
        if "weights" in forms:
            forms["weights"] = [str(program.resolve()), *forms["weights"]]
        arguments = [str(asked), scratch, json.dumps(sizes), json.dumps(forms)]
        if failure := isolated_python.run(_ANSWER, arguments, scratch):
            raise WorkFailed(f"an exported form cannot be read back where tutelage is not installed: {failure}")
        return {form: [np.load(f"{scratch}/{form}-{size}.npy") for size in sizes] for form in forms}
