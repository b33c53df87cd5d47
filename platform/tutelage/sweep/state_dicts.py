"""Finds a network's weights in a checkpoint file, under the keys and prefixes of common training scripts.

Frameworks nest a state dict (`state_dict`, `model_state_dict`, `ema`) and put a prefix before its names: `module.` of
data-parallel training, `_orig_mod.` of torch.compile, `model.` of Lightning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import InputError

MAX_DEPTH = 3  # of mappings within mappings
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")  # dropped from names
_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Found:
    """A state dict in a file: its keys, the prefix of its names, and its tensors by the rest of their names."""

    keys: tuple[str, ...]
    prefix: str
    weights: Mapping[str, Tensor]

    @property
    def place(self) -> str:
        """The place of the state dict in its file, as text."""
        under = f"under {''.join(f'[{key!r}]' for key in self.keys)}" if self.keys else "at the top"
        return f"{under}, without the prefix '{self.prefix}'" if self.prefix else under


def weights_in(
    loaded: Any, wanted: Mapping[str, Tensor], shared: Mapping[str, str], source: str
) -> dict[str, Tensor]:  # fmt: skip
    """Return the tensors of a loaded checkpoint that fit the tensors `wanted`, by their names.

    `shared` has further names of tensors, with their first names; a file may have either or both. `source` names the file in
    messages. Raises `InputError` with the missing and the surplus names and the place that was searched, and for several
    different state dicts that fit.
    """
    candidates = list(_candidates(loaded, wanted))
    if not candidates:
        raise InputError(f"{source} has no state dict: a mapping of names to tensors.")
    fitting = [one for one in candidates if not _problems(one, wanted, shared)]
    distinct = [one for number, one in enumerate(fitting) if not any(_same(one, other) for other in fitting[:number])]
    if len(distinct) > 1:
        listed = "; ".join(one.place for one in distinct)
        keys = "".join(f"[{key!r}]" for key in distinct[-1].keys)
        raise InputError(
            f"{source} has {len(distinct)} state dicts that fit: {listed}. Save one of them alone, for example: "
            f"torch.save(torch.load(path, map_location='cpu'){keys}, 'weights.pt')."
        )
    if distinct:
        return dict(distinct[0].weights)
    best = max(candidates, key=lambda one: (_num_fitting(one, wanted), -len(one.keys), -len(one.prefix)))
    raise InputError(
        f"{source} does not fit teacher.model. Of the state dict {best.place}: {'; '.join(_problems(best, wanted, shared))}."
        f"{_mapping(best, wanted, shared)} Name the architecture that was trained, with its options, or rename its tensors. "
        "Classes other than those of the data are named by teacher.classes."
    )


def _candidates(loaded: Any, wanted: Mapping[str, Tensor]) -> Iterator[Found]:
    for keys, tensors in _mappings(loaded, ()):
        named = {".".join(part for part in name.split(".") if part not in WRAPPERS): one for name, one in tensors.items()}
        for prefix in _prefixes(named, wanted):
            inside = {name.removeprefix(prefix): one for name, one in named.items() if name.startswith(prefix)}
            yield Found(keys=keys, prefix=prefix, weights=inside)


def _mappings(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield each mapping that has tensors, with the keys that lead to it."""
    if not isinstance(value, Mapping) or len(keys) > MAX_DEPTH:
        return
    tensors = {str(name): one for name, one in value.items() if isinstance(one, Tensor)}
    if tensors:
        yield keys, tensors
    for key, inner in value.items():
        yield from _mappings(inner, (*keys, str(key)))


def _prefixes(names: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes that `names` have before names of `wanted`, "" included."""
    found = {name.removesuffix(own) for own in wanted for name in names if name == own or name.endswith(f".{own}")}
    return sorted({"", *found}, key=len)


def _problems(found: Found, wanted: Mapping[str, Tensor], shared: Mapping[str, str]) -> list[str]:
    """Return the reasons why a state dict does not fit, as text; none if it fits."""
    weights = found.weights
    wrong = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    listed = (
        ("of another shape", wrong),
        ("missing", _missing(found, wanted, shared)),
        ("not in the model", _surplus(found, wanted)),
    )
    return [f"{what}: {_cut(names)}" for what, names in listed if names]


def _missing(found: Found, wanted: Mapping[str, Tensor], shared: Mapping[str, str]) -> list[str]:
    given = {shared.get(name, name) for name in found.weights}
    return [name for name in wanted if shared.get(name, name) not in given]


def _surplus(found: Found, wanted: Mapping[str, Tensor]) -> list[str]:
    return [name for name in found.weights if name not in wanted]


def _cut(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _mapping(found: Found, wanted: Mapping[str, Tensor], shared: Mapping[str, str]) -> str:
    """Return the surplus names paired with the missing ones, as text, if their shapes agree in order; otherwise ""."""
    missing, surplus = _missing(found, wanted, shared), _surplus(found, wanted)
    if not missing or [wanted[name].shape for name in missing] != [found.weights[name].shape for name in surplus]:
        return ""
    pairs = [f"{theirs} → {own}" for theirs, own in zip(surplus, missing, strict=True)]
    return f" These have the shapes of the missing ones, in order: {_cut(pairs)}."


def _num_fitting(found: Found, wanted: Mapping[str, Tensor]) -> int:
    return sum(name in found.weights and found.weights[name].shape == tensor.shape for name, tensor in wanted.items())


def _same(one: Found, other: Found) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        one.weights[name].dtype == other.weights[name].dtype and torch.equal(one.weights[name], other.weights[name])
        for name in one.weights
    )
