"""A student taken out: one new directory with every form asked for, a model card, and a manifest of what each file is."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from tutelage.errors import InputError
from tutelage.export import load
from tutelage.files import sha256_of, write_atomically, write_json
from tutelage.networks import checkpoint
from tutelage.networks.blank import blank_arguments
from tutelage.signature import signature_of
from tutelage.storage import open_storage

PROGRAM, ONNX, MANIFEST = "model.pt2", "model.onnx", "manifest.json"


FORMS: dict[str, tuple[str, ...]] = {  # a form → its files
    "weights": (checkpoint.WEIGHTS, checkpoint.ARCHITECTURE),
    "program": (PROGRAM,),
    "onnx": (ONNX,),
    "onnx-int8": ("model.int8.onnx",),
    "onnx-int8-dynamic": ("model.int8-dynamic.onnx",),
}


FLOAT_FORMS, QUANTISED_FORMS = ("weights", "program", "onnx"), ("onnx-int8", "onnx-int8-dynamic")


WRITTEN_WITH = {  # a form → the packages that its bytes depend on
    "weights": ("torch", "safetensors"),
    "program": ("torch",),
    "onnx": ("torch", "onnx", "onnxscript"),
    "onnx-int8": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "onnx-int8-dynamic": ("torch", "onnx", "onnxscript", "onnxruntime"),
}


@dataclass(kw_only=True)
class Draft:
    """An export that nobody sees yet: its directory, the student in every form asked for, and what was found out of it.

    `opset` is that of the ONNX file; `details` are facts of single forms for the manifest.
    """

    directory: Path
    model: nn.Module
    architecture: Mapping[str, Any]
    forms: Sequence[str]
    opset: int | None = None
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    def path(self, form: str) -> Path:
        """Return the form's file, that of the weights for `weights`."""
        return self.directory / FORMS[form][0]

    def written(self) -> tuple[str, ...]:
        """Return the forms whose files are there."""
        return tuple(form for form in FORMS if self.path(form).exists())


@contextmanager
def drafted(directory: Path, model: nn.Module, architecture: Mapping[str, Any], forms: Sequence[str]) -> Iterator[Draft]:
    """Write the float `forms` of `model` into a draft, to be looked at and added to; it becomes `directory` at the end.

    An error on the way leaves nothing behind. Raises `InputError` if the directory is there and not empty.
    """
    check_new(directory)
    with open_storage(directory.parent).draft(directory.name, existing="refuse") as path:
        draft = Draft(directory=path, model=model.eval(), architecture=architecture, forms=forms)
        _write_float_forms(draft)
        yield draft


def check_new(directory: Path) -> None:
    """Raise `InputError` unless `directory` is new or empty."""
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty. Give a new directory, or remove that one first.")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file. Give a new directory.")


def _write_float_forms(draft: Draft) -> None:
    if "weights" in draft.forms:
        checkpoint.write(draft.directory, draft.model, draft.architecture)
    if set(draft.forms) == {"weights"}:
        return
    program, described = program_of(draft.model, draft.architecture), load.described(draft.architecture)
    if "program" in draft.forms:
        write_atomically(draft.path("program"), program_bytes(program, described))
    if set(draft.forms) - {"weights", "program"}:  # what is quantised is made of it too
        from tutelage.export import onnx_format

        draft.opset = onnx_format.write(draft.path("onnx"), program, described)


def program_of(model: nn.Module, architecture: Mapping[str, Any]) -> ExportedProgram:
    """Return `model` as a torch.export program whose batch may have any size."""
    arguments = blank_arguments(signature_of(architecture["signature"]), 2)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, arguments, dynamic_shapes=tuple({0: batch} for _ in arguments))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it tells this machine's paths, and is most of the file
    return program


def program_bytes(program: ExportedProgram, described: Mapping[str, str]) -> bytes:
    """Return a program as the bytes of a `.pt2` file that says of itself what is `described`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=dict(described))
    return buffer.getvalue()


def manifest(draft: Draft, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest: what the student takes and gives, and of every file its form, SHA-256, bytes and versions."""
    signature, files = signature_of(draft.architecture["signature"]), dict[str, Any]()
    taken, given = signature.inputs[0], signature.outputs[0]
    for form in draft.written():
        made = {package: version(package) for package in WRITTEN_WITH[form]}
        for name in FORMS[form]:
            files[name] = {
                "form": form,
                **_of_file(draft.directory / name),
                "written_with": made,
                **draft.details.get(form, {}),
            }
            if name.endswith(".onnx"):
                files[name]["opset"] = draft.opset
    files |= {name: _of_file(draft.directory / name) for name in _others(draft, files)}
    return {
        "version": 2,
        "tutelage": version("tutelage"),
        "about": dict(about),
        "input": {
            "name": "inputs", "dtype": "float32", "shape": ["batch", *taken.shape],
            "normalisation": {
                "formula": "(stored - mean) / std, one number a channel (axis 1); none where empty",
                "mean": list(taken.mean), "std": list(taken.std),
            },
        },
        "output": {
            "name": "logits", "dtype": "float32", "shape": ["batch", given.num_classes],
            "class_names": list(given.names),
        },
        "files": files,
    }  # fmt: skip


def _of_file(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}


def _others(draft: Draft, known: Mapping[str, Any]) -> list[str]:
    return sorted(path.name for path in draft.directory.iterdir() if path.name not in {*known, MANIFEST})


def drop_intermediate(draft: Draft) -> None:
    """Take away the float ONNX file where it was only needed to be quantised."""
    if "onnx" not in draft.forms:
        draft.path("onnx").unlink(missing_ok=True)


def finish(draft: Draft, about: Mapping[str, Any], card: str, card_name: str) -> dict[str, Any]:
    """Write the card and, last, the manifest into the draft; return the manifest."""
    write_atomically(draft.directory / card_name, card)
    document = manifest(draft, about)
    write_json(draft.directory / MANIFEST, document)
    return document
