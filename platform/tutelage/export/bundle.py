"""An exported student: a new directory with the requested forms, a model card, and a manifest that describes every file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.errors import InputError
from tutelage.export.forms import FORMS, WRITTEN_WITH
from tutelage.files import sha256_of, write_atomically, write_json
from tutelage.networks import checkpoint, runtime
from tutelage.networks.blank import mask_name
from tutelage.networks.interface import Port, arguments_of, outputs_of
from tutelage.networks.program import output_names, program_bytes, program_of
from tutelage.signature import Signature, signature_of
from tutelage.storage import open_storage

MANIFEST = "manifest.json"


@dataclass(kw_only=True)
class Draft:
    """An unfinished export: its directory, the student, the requested forms, and facts for the manifest.

    `opset` is that of the ONNX file; `details` are facts of single forms. `int8_file` is the quantised file of
    an int8 candidate.
    """

    directory: Path
    model: nn.Module
    architecture: Mapping[str, Any]
    forms: Sequence[str]
    opset: int | None = None
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    int8_file: Path | None = None

    @property
    def signature(self) -> Signature:
        """The student's inputs and outputs."""
        return signature_of(self.architecture["signature"])

    def path(self, form: str) -> Path:
        """Return the form's file; for `weights`, the file of weights."""
        return self.directory / FORMS[form][0]

    def written(self) -> tuple[str, ...]:
        """Return the forms whose files exist."""
        return tuple(form for form in FORMS if self.path(form).exists())


@contextmanager
def drafted(directory: Path, model: nn.Module, architecture: Mapping[str, Any], forms: Sequence[str]) -> Iterator[Draft]:
    """Write the float `forms` of `model` into a draft, which the block may check and extend; it then becomes `directory`.

    After an error no file is left. Raises `InputError` if the directory exists and is not empty.
    """
    check_new(directory)
    try:
        with open_storage(directory.parent).draft(directory.name, existing="refuse") as path:
            draft = Draft(directory=path, model=model.eval(), architecture=architecture, forms=forms)
            _write_float_forms(draft)
            yield draft
    except OSError:
        check_new(directory)  # another process may have exported into it meanwhile
        raise


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
    program, described = program_of(draft.model, draft.signature), runtime.described(draft.architecture)
    if "program" in draft.forms:
        write_atomically(draft.path("program"), program_bytes(program, described))
    if set(draft.forms) - {"weights", "program"}:  # quantised forms are made from the ONNX file as well
        from tutelage.networks import onnx_format

        ports, names = arguments_of(draft.signature), output_names(program, draft.signature)
        draft.opset = onnx_format.write(draft.path("onnx"), program, ports, names, described)


def manifest(draft: Draft, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest: every input and output of the student, and of every file its form, SHA-256, bytes and versions."""
    files = _files(draft)
    files |= {name: _of_file(draft.directory / name) for name in _others(draft, files)}
    return {
        "version": 3,
        "tutelage": version("tutelage"),
        "about": dict(about),
        "normalisation": "(stored - mean) / std, a number a channel: axis 1 of a batch, axis 2 if examples differ in length",
        "columns": "those of a table, in the order of the stored numbers; words are one-hot",
        "inputs": list(_inputs(draft.signature)),
        "outputs": list(_outputs(draft)),
        "files": files,
    }


def _files(draft: Draft) -> dict[str, Any]:
    found = dict[str, Any]()
    for form in draft.written():
        made = {package: version(package) for package in WRITTEN_WITH[form]}
        for name in FORMS[form]:
            opset = {"opset": draft.opset} if name.endswith(".onnx") else {}
            about = {"form": form, **_of_file(draft.directory / name), "written_with": made}
            found[name] = {**about, **draft.details.get(form, {}), **opset}
    return found


def _inputs(signature: Signature) -> Iterator[dict[str, Any]]:
    """Yield the description of every argument of the network, in order; the mask of a ragged input follows it."""
    ports = {port.name: port for port in arguments_of(signature)}
    for spec in signature.inputs:
        mask = mask_name(spec) if spec.is_ragged else None
        yield {
            **_of_port(ports[spec.name]), "kind": spec.kind, "mask": mask, "vocabulary": list(spec.names),
            "normalisation": {"mean": list(spec.mean), "std": list(spec.std)},
            "columns": [asdict(column) for column in spec.columns],
        }  # fmt: skip
        if mask:
            yield {**_of_port(ports[mask]), "kind": "mask", "of": spec.name}


def _outputs(draft: Draft) -> Iterator[dict[str, Any]]:
    """Yield the description of every output; `steps` names the input for each position of which it has a step."""
    for output, port in zip(draft.signature.outputs, outputs_of(draft.signature, draft.model), strict=True):
        yield {**_of_port(port), "sequence": output.name, "steps": output.steps, "class_names": list(output.names)}


def _of_port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}


def _of_file(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_of(path), "size_bytes": path.stat().st_size}


def _others(draft: Draft, known: Mapping[str, Any]) -> list[str]:
    return sorted(path.name for path in draft.directory.iterdir() if path.name not in {*known, MANIFEST})


def drop_intermediate(draft: Draft) -> None:
    """Remove the float ONNX file if only its quantised forms were requested."""
    if "onnx" not in draft.forms:
        draft.path("onnx").unlink(missing_ok=True)


def finish(draft: Draft, about: Mapping[str, Any], card: str, card_name: str) -> dict[str, Any]:
    """Write the card and, last, the manifest into the draft; return the manifest."""
    write_atomically(draft.directory / card_name, card)
    document = manifest(draft, about)
    write_json(draft.directory / MANIFEST, document)
    return document
