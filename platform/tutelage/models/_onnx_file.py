"""Where an ONNX file lies, and what it says of itself: its signature, or the names of its classes."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.errors import InputError, UnreachableError, first_names, nearest
from tutelage.files import existing, read_lines
from tutelage.signature import BLANK_NAME, InputSpec, OutputSpec, Signature, signature_of, vocabulary_difference

SHOWN = 4  # names in a message


def place_of(path: str | None, package: str | None, file: str | None) -> Path:
    """Return the ONNX file at `path`, or the one called `file` within an installed package, whose code is not run.

    Raises `InputError` unless exactly one of path and package is given, and for a file that is not there or not the only one;
    `UnreachableError` for a package that is not installed.
    """
    if (path is None) == (package is None):
        raise InputError("model 'onnx': give either 'path', an .onnx file, or 'package', an installed package with one.")
    if path is None:
        return _in_package(package or "", file)
    if file is not None:
        raise InputError("model 'onnx': 'file' names one of the files of a 'package', and 'path' is a file already.")
    found = existing(path)
    if found.is_dir():
        raise InputError(f"{found}: is a folder. Give an .onnx file; an exported folder is a teacher by teacher.path.")
    return found


def _in_package(package: str, file: str | None) -> Path:
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UnreachableError(f"model 'onnx': the package {package} is not installed. Install it, or give a path.")
    places = {one.name: one for root in found.submodule_search_locations for one in sorted(Path(root).rglob("*.onnx"))}
    if file is not None and file not in places:
        raise InputError(f"model 'onnx': the package {package} has no file {file}.{nearest(file, places)}")
    if file is None and len(places) != 1:
        listed = ", ".join(places) or "none"
        raise InputError(f"model 'onnx': the package {package} has the .onnx files {listed}. Name one by 'file'.")
    return places[file] if file is not None else next(iter(places.values()))


def own_signature(path: Path, described: Mapping[str, str]) -> Signature | None:
    """Return the signature that a file exported by Tutelage holds; None for another file."""
    if "signature" not in described:
        return None
    try:
        return signature_of(json.loads(described["signature"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} holds no readable signature: {error!r}") from None


def check_inputs(path: Path, own: Sequence[InputSpec], given: Sequence[InputSpec]) -> None:
    """Raise `InputError` for data whose inputs are not those of an exported network: kinds, sizes, vocabulary, columns."""
    listed = (", ".join(f"{one.name} ({one.kind} {one.shape})" for one in specs) for specs in (own, given))
    if [_form(one) for one in own] != [_form(one) for one in given]:
        raise InputError(f"{path}: the network takes {next(listed)}, and the data have {next(listed)}.")
    for taken, one in zip(own, given, strict=True):
        if (difference := vocabulary_difference(taken, one)) is not None:
            raise InputError(f"{path}: the network {difference} Give data with the vocabulary of the network.")
        if taken.columns != one.columns:
            raise InputError(
                f"{path}: the network takes other columns than the data have. Give its exported folder as teacher.path, whose "
                "columns are found by name."
            )


def _form(spec: InputSpec) -> Any:
    return spec.kind, spec.dtype, tuple(size if isinstance(size, int) else None for size in spec.shape)


def names_in(path: Path, classes: Sequence[str] | None, classes_path: str | None, described: Mapping[str, str]) -> list[str]:
    """Return the names of a network's outputs that a spec or the file itself gives; [] without any.

    Files of PaddleOCR, as the package rapidocr has them, hold theirs as `character`, one a line.
    """
    if classes is not None and classes_path is not None:
        raise InputError("model 'onnx': give either 'classes' or 'classes_path'.")
    if classes is not None:
        return list(classes)
    if classes_path is not None:
        return _names_of_lines(existing(classes_path))
    return described["character"].removesuffix("\n").split("\n") if "character" in described else []


def _names_of_lines(path: Path) -> list[str]:
    """Return the name in each line. Raises `InputError` for a line without one, which would count as an output."""
    names = read_lines(path)
    if not names:
        raise InputError(f"{path}: is empty. Write the name of an output in each line, or leave out classes_path.")
    if empty := [str(number) for number, name in enumerate(names, start=1) if not name]:
        raise InputError(
            f"{path}: line {first_names(empty, SHOWN)} of {len(names):,} is empty, and each line is the name of an "
            "output. Remove it; name an output that stands for no class of the data by any other word."
        )
    return names


def columns_of(path: Path, output: OutputSpec, names: Sequence[str], count: int, blank: int) -> list[int]:
    """Return the column of each class of `output` among a network's `count` ones, which have these `names`.

    Of a text recogniser, `blank` is the place of CTC's blank, which a dictionary does not have; a last class without a name is
    the space, as in PaddleOCR. Without names, the classes are the data's in their order. Raises `InputError` for names that are
    too few or too many, and for a class that the network lacks or has twice.
    """
    known = list(names) or list(output.names)
    if names and BLANK_NAME in output.names and BLANK_NAME not in known:
        if blank >= count:
            raise InputError(f"{path}: blank {blank} is no place among the network's {count:,} classes, which begin at 0.")
        known += [" "] * (count == len(known) + 2 and " " not in known)
        known.insert(blank, BLANK_NAME)
    if len(known) != count:
        what = f"{len(known):,} names are given" if names else f"the data have {len(known):,}"
        raise InputError(
            f"{path}: the network has {count:,} classes, and {what}. Name them in the order of its outputs, by 'classes' or by "
            "'classes_path', a file with a name a line."
        )
    places = Counter(known)
    if missing := [name for name in output.names if name not in places]:
        listed = first_names([repr(name) for name in missing], SHOWN)
        raise InputError(
            f"{path}: the network lacks the classes {listed} of '{output.name}'.{nearest(missing[0], known)} A teacher "
            "must have all classes of the data; if only their names differ, name them in the order of its outputs by 'classes'."
        )
    if ambiguous := [name for name in output.names if places[name] > 1]:
        raise InputError(
            f"{path}: several outputs of the network are called {ambiguous[0]!r}. Give each output of a class of the data a "
            "name of its own, by 'classes' or by 'classes_path'."
        )
    return [known.index(name) for name in output.names]
