"""The rows of weights that belong to a class or a token each, matched by name between two networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Size, Tensor, nn

from tutelage import initial_weights
from tutelage.errors import InputError
from tutelage.networks import checkpoint, process_state
from tutelage.signature import Signature, signature_of

Names = tuple[str, ...]
_ONE_MORE = "\0"  # the name of a class that no data have


def class_axes(architecture: Mapping[str, Any]) -> dict[str, dict[int, Names]]:
    """Return the axes along which a network's tensors have a row for each class of an output, or each token of an input.

    They are those that are one longer in the network with one more name. Classes that are also tokens, as those of a language
    model, are changed together. A network that cannot be built with another name has no such axes.
    """
    signature, found = signature_of(architecture["signature"]), dict[str, dict[int, Names]]()
    own = _shapes(architecture, signature)
    for names, changed in _with_one_more(signature):
        try:
            other = _shapes(architecture, changed)
        except InputError:
            continue
        for name, shape in own.items():
            sizes = zip(shape, other.get(name, shape), strict=False)
            axes = [axis for axis, (size, longer) in enumerate(sizes) if longer == size + 1]
            if axes:
                found.setdefault(name, {}).update(dict.fromkeys(axes, names))
    return found


def _shapes(architecture: Mapping[str, Any], signature: Signature) -> dict[str, Size]:
    """Return the shapes of the network with another signature, before anything was removed from it."""
    with process_state.seeded(0), initial_weights.replaced():
        model = checkpoint.blank({**architecture, "signature": signature.document(), "surgeries": ()})
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _with_one_more(signature: Signature) -> Iterator[tuple[Names, Signature]]:
    known = [*(one.names for one in signature.outputs), *(one.names for one in signature.inputs)]
    for names in dict.fromkeys(filter(None, known)):
        inputs = (replace(one, names=(*names, _ONE_MORE)) if one.names == names else one for one in signature.inputs)
        outputs = (replace(one, names=(*names, _ONE_MORE)) if one.names == names else one for one in signature.outputs)
        yield names, Signature(inputs=tuple(inputs), outputs=tuple(outputs))


def chosen(model: nn.Module, architecture: Mapping[str, Any], names: Names) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network of one label sequence, and its architecture, so that it gives only the classes `names`, in order."""
    known = signature_of(architecture["signature"])
    axes = {name: [axis for axis, of in found.items() if of == known.class_names]
            for name, found in class_axes(architecture).items()}  # fmt: skip
    columns = [known.class_names.index(name) for name in names]
    about = {"of": list(known.class_names), "taken": columns, "axes": axes}
    return checkpoint.ChosenClasses(model, columns, axes), {
        **architecture, "signature": known.with_class_names(names).document(), "columns": about,
    }  # fmt: skip


def matched(weights: Mapping[str, Tensor], theirs: Mapping[str, Any] | None, ours: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return weights of the architecture `theirs` with the rows of the classes of `ours`, in their order.

    A row is NaN for a class that `theirs` lacks, and a tensor without any row of ours is left out. None: the architecture is
    not known, as that of a file of weights; its classes are ours if there are as many.
    """
    if theirs is not None and theirs["signature"] == ours["signature"]:
        return dict(weights)
    own, other = class_axes(ours), None if theirs is None else class_axes(theirs)
    found = {
        name: _unnamed(tensor, own.get(name, {})) if other is None else _named(tensor, other.get(name, {}), own.get(name, {}))
        for name, tensor in weights.items()
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _unnamed(tensor: Tensor, ours: Mapping[int, Names]) -> Tensor | None:
    return tensor if all(axis < tensor.ndim and tensor.shape[axis] == len(names) for axis, names in ours.items()) else None


def _named(tensor: Tensor, theirs: Mapping[int, Names], ours: Mapping[int, Names]) -> Tensor | None:
    if set(theirs) != set(ours):
        return None
    found: Tensor | None = tensor
    for axis, names in ours.items():
        found = None if found is None else _rows(found, axis, theirs[axis], names)
    return found


def _rows(tensor: Tensor, axis: int, given: Names, wanted: Names) -> Tensor | None:
    if given == wanted:
        return tensor
    places = [given.index(name) if name in given else -1 for name in wanted]
    if max(places) < 0 or axis >= tensor.ndim or tensor.shape[axis] != len(given) or not tensor.is_floating_point():
        return None
    absent = torch.tensor([place < 0 for place in places]).view(-1, *[1] * (tensor.ndim - axis - 1))
    return tensor.index_select(axis, torch.tensor(places).clamp(min=0)).masked_fill(absent, torch.nan)


def filled(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `own` numbers in place of NaN."""
    return {
        name: tensor.where(~tensor.isnan(), own[name].to(tensor.device)) if tensor.is_floating_point() else tensor
        for name, tensor in given.items()
    }
