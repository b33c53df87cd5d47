"""A network as a torch.export program, the graph that every form but the weights is made from."""

from __future__ import annotations

import inspect
import io
from collections.abc import Mapping

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten

from tutelage import foreign
from tutelage.errors import WorkFailed
from tutelage.networks import scanned
from tutelage.networks.interface import BATCH, arguments_of, traced_arguments
from tutelage.signature import Signature, exported_names

DYNAMIC = torch.export.Dim.DYNAMIC  # free, in the range that the network's code allows


def program_of(model: nn.Module, signature: Signature) -> ExportedProgram:
    """Return `model` as a torch.export program for any batch size, and any length of ragged inputs that the network takes.

    Raises `WorkFailed` for a network whose graph depends on the sizes or the numbers that it is given.
    """
    batch = torch.export.Dim("batch", min=1)
    free = tuple(
        {axis: batch if size == BATCH else DYNAMIC for axis, size in enumerate(port.shape) if isinstance(size, str)}
        for port in arguments_of(signature)
    )
    try:
        as_declared = tuple(inspect.signature(model.forward).bind(*free).arguments.values())  # `*inputs` are one nested tuple
        with scanned.loops_for(signature):
            program = torch.export.export(model, traced_arguments(signature), dynamic_shapes=as_declared)
    except Exception as error:  # torch raises what it meets: its own, and those of the network's code
        raise WorkFailed(f"the network cannot be exported for any batch and length: {foreign.reason(error)}.") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has this machine's paths, and is most of the file
    return program


def output_names(program: ExportedProgram, signature: Signature) -> list[str]:
    """Return the names of a program's outputs in its own order, which for a mapping is that of the network's code."""
    structure = program.call_spec.out_spec
    assert structure is not None
    numbered = tree_unflatten(list(range(len(program.graph_signature.user_outputs))), structure)
    exported = exported_names(signature)
    in_order = numbered if isinstance(numbered, tuple | list) else [numbered]
    positions = numbered if isinstance(numbered, Mapping) else dict(zip(exported, in_order, strict=True))
    return [exported.get(name, name) for name in sorted(positions, key=positions.__getitem__)]


def program_bytes(program: ExportedProgram, described: Mapping[str, str]) -> bytes:
    """Return a program as the bytes of a `.pt2` file that holds `described`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=dict(described))
    return buffer.getvalue()
