"""A student taken out: a torch.export program, and weights + architecture, in one directory that says what it holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import network
from tutelage.errors import InputError, WorkFailed
from tutelage.files import sha256_of, write_atomically, write_json

PROGRAM, MANIFEST = "model.pt2", "manifest.json"
TOLERANCE = 1e-5


def export(model: nn.Module, architecture: dict[str, Any], directory: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write `model` into the new `directory` in both forms and return its manifest.

    The program takes a batch of any size. The manifest holds `about`, the shapes, and the SHA-256 of every file; it is
    written last. Raises `InputError` if the directory is there and not empty.
    """
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty. Give an empty or a new directory.")
    model = model.eval()
    network.write(directory, model, architecture)
    write_atomically(directory / PROGRAM, program_bytes(model, tuple(architecture["example_shape"])))
    files = (network.WEIGHTS, network.ARCHITECTURE, PROGRAM)
    manifest = {
        "version": 1,
        "about": about,
        "input": {"dtype": "float32", "shape": ["batch", *architecture["example_shape"]]},
        "output": {"dtype": "float32", "shape": ["batch", len(architecture["class_names"])]},
        "sha256": {name: sha256_of(directory / name) for name in files},
        "size_bytes": {name: (directory / name).stat().st_size for name in files},
    }
    write_json(directory / MANIFEST, manifest)
    return manifest


def program_bytes(model: nn.Module, example_shape: tuple[int, ...]) -> bytes:
    """Return `model` as a torch.export program whose batch may have any size."""
    example = torch.zeros(2, *example_shape)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def check(directory: Path, model: nn.Module, inputs: Tensor) -> dict[str, float]:
    """Return the largest absolute difference from `model` on real `inputs` `[n, …]`, by exported form.

    Both forms are read back from the disk and answer the whole batch and a single example. Raises `WorkFailed` above
    1e-5.
    """
    program = torch.export.load(directory / PROGRAM).module()
    reread, _ = network.read(directory)
    distances = {}
    with torch.inference_mode():
        expected = model.eval()(inputs)
        for form, answers in ((PROGRAM, program), (network.WEIGHTS, reread)):
            whole = (answers(inputs) - expected).abs().max().item()
            single = (answers(inputs[:1]) - expected[:1]).abs().max().item()
            distances[form] = max(whole, single)
    if max(distances.values()) > TOLERANCE:
        raise WorkFailed(f"an exported form answers otherwise than the student: {distances}. Do not deploy it.")
    return distances
