"""The comparison of every exported form of a draft with its student on real inputs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor

from tutelage.errors import WorkFailed
from tutelage.export import bundle, read_back
from tutelage.export.forms import FLOAT_FORMS, PROGRAM
from tutelage.files import write_atomically
from tutelage.networks import checkpoint, runtime
from tutelage.networks.program import program_bytes, program_of
from tutelage.networks.trust import EVERYTHING


def differences(draft: bundle.Draft, arguments: tuple[Tensor, ...]) -> dict[str, float]:
    """Return by form the largest absolute difference of its logits from the student's on the `arguments` of real examples.

    The weights are read by tutelage in this process, and without tutelage in another one, into the graph of
    the program. Raises `WorkFailed` if a float form differs by more than `read_back.allowed`, or if the student's logits depend
    on padding.
    """
    cases = read_back.cases_of(draft.model, draft.signature, arguments)
    with tempfile.TemporaryDirectory() as scratch:
        found = read_back.differences(cases, draft.signature, _forms(draft, Path(scratch)))
    if "weights" in found:
        reread, _ = checkpoint.read(draft.directory, EVERYTHING)
        here = [read_back.outputs_in_process(reread, draft.signature, case.arguments) for case in cases]
        found["weights"] = max(found["weights"], *(case.difference(one) for case, one in zip(cases, here, strict=True)))
    limit = read_back.allowed(cases)
    if wrong := {form: by for form, by in found.items() if form in FLOAT_FORMS and not by <= limit}:
        listed = ", ".join(f"{form} by {by:.3g}" for form, by in wrong.items())
        raise WorkFailed(f"an exported form's logits differ from the student's: {listed} (allowed: {limit:.3g}).")
    return found


def _forms(draft: bundle.Draft, scratch: Path) -> dict[str, tuple[read_back.Kind, list[str]]]:
    """Return the forms to read back; the program, into which the weights are read, is made in `scratch` if it is missing."""
    found: dict[str, tuple[read_back.Kind, list[str]]] = {}
    for form in draft.written():
        file = str(draft.path(form).resolve())
        if form == "weights":
            found[form] = ("weights", [str(_program(draft, scratch)), file])
        else:
            found[form] = ("program" if form == "program" else "onnx", [file])
    return found


def _program(draft: bundle.Draft, scratch: Path) -> Path:
    program = draft.path("program")
    if not program.exists():
        program = scratch / PROGRAM
        made = program_of(draft.model, draft.signature)
        write_atomically(program, program_bytes(made, runtime.described(draft.architecture)))
    return program.resolve()
