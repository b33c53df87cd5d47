"""The check that a network fits data: the same inputs and outputs, of the same shapes and classes."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.errors import InputError
from tutelage.signature import InputSpec, OutputSpec, Signature


def check_fits(model: str, own: Signature, data: Signature) -> None:
    """Raise `InputError` with both sides if the inputs or classes of a model differ from those of the data."""
    if difference := mismatch(own, data):
        raise InputError(f"{model} {difference}. Use the data that it was trained for.")


def mismatch(own: Signature, data: Signature) -> str | None:
    """Return in words the first difference of a model's signature from that of the data; None if there is none.

    Names of single inputs and outputs are not compared, nor vocabularies and classes that a file does not name.
    """
    return (
        _other_names("takes the inputs", own.inputs, data.inputs)
        or _first(_other_input(mine, theirs, len(own.inputs)) for mine, theirs in zip(own.inputs, data.inputs, strict=True))
        or _other_names("gives the label sequences", own.outputs, data.outputs)
        or _first(_other_output(mine, theirs, len(own.outputs)) for mine, theirs in zip(own.outputs, data.outputs, strict=True))
    )


def _first(found: object) -> str | None:
    return next((one for one in found if one), None)  # type: ignore[attr-defined]


def _other_names(
    verb: str, mine: Sequence[InputSpec] | Sequence[OutputSpec], theirs: Sequence[InputSpec] | Sequence[OutputSpec]
) -> str | None:
    own, data = ([one.name for one in specs] for specs in (mine, theirs))
    if own == data or len(own) == len(data) == 1:
        return None
    return f"{verb} {', '.join(own)}, the data has {', '.join(data)}"


def _other_input(mine: InputSpec, theirs: InputSpec, count: int) -> str | None:
    what = "examples" if count == 1 else f"'{mine.name}'"
    if _sizes(mine) != _sizes(theirs):
        return f"takes {what} of shape {_shown(mine)}, the data has {_shown(theirs)}"
    if mine.dtype != theirs.dtype:
        return f"takes {what} as {mine.dtype}, the data has {theirs.dtype}"
    if mine.names and theirs.names and mine.names != theirs.names:
        own, data = first_difference(mine.names, theirs.names)
        return f"takes {what} of another vocabulary than the data's: '{own}' stands where the data has '{data}'"
    return None


def _sizes(spec: InputSpec) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in spec.shape]


def _shown(spec: InputSpec) -> str:
    return f"({', '.join(map(str, spec.shape))})"


def _other_output(mine: OutputSpec, theirs: OutputSpec, count: int) -> str | None:
    of = "" if count == 1 else f" of '{mine.name}'"
    if mine.num_classes != theirs.num_classes:
        return f"gives {mine.num_classes} classes{of}, the data has {theirs.num_classes}"
    if bool(mine.steps) != bool(theirs.steps):
        sides = ("a step for each position" if one.steps else "one step an example" for one in (mine, theirs))
        return f"gives {next(sides)}{of}, the task needs {next(sides)}"
    if any(mine.names) and mine.names != theirs.names:
        own, data = first_difference(mine.names, theirs.names)
        return f"has other classes{of} than the data, or another order: '{own}' stands where the data has '{data}'"
    return None


def first_difference(mine: Sequence[str], theirs: Sequence[str]) -> tuple[str, str]:
    """Return the first names that differ, "" for one that is missing."""
    longest = max(len(mine), len(theirs))
    own, data = ([*names, *[""] * (longest - len(names))] for names in (mine, theirs))
    return next((a, b) for a, b in zip(own, data, strict=True) if a != b)
