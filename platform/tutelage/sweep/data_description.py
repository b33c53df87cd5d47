"""A description of a sweep's data: sizes, classes, inputs, and what was inferred from the files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.data import Examples, Field, Ragged
from tutelage.escaping import visible
from tutelage.signature import Column, InputSpec
from tutelage.training.context import TrainingContext

SHOWN = 20  # classes, columns and words of a list


def sizes(context: TrainingContext) -> str:
    """Return the number of examples of each split, and of training examples without a label, as text."""
    train = context.splits["train"]
    without = f" ({len(train) - train.num_labelled:,} without a label)" if train.num_labelled < len(train) else ""
    return f"train {len(train):,}{without}, validation {len(context.splits['validation']):,}"


def document(context: TrainingContext) -> dict[str, Any]:
    """Return the classes with their numbers of training labels, the inputs, and what was inferred, as JSON values."""
    train, validation = context.splits["train"], context.splits["validation"]
    return {
        "classes": {name: _counts(field) for name, field in train.targets.items() if field.kind == "class"},
        "inputs": [_input(spec) for spec in train.input_specs],
        "notes": list(dict.fromkeys([*train.notes, *validation.notes, *_absent(context), *_repeated(context)])),
    }


def _absent(context: TrainingContext) -> list[str]:
    """Return sentences on classes that only training or only validation has labels of.

    No score depends on those that validation lacks, and no network learns those that training lacks.
    """
    train, validation = context.splits["train"], context.splits["validation"]
    is_noted = any(note.startswith("classes without an example in validation") for note in train.notes)
    found = []
    for name, field in train.targets.items():
        seen, held = (_counts(split.targets[name]) if field.kind == "class" else {} for split in (train, validation))
        if not is_noted and (lacking := _only_in(seen, held)):
            found.append(f"classes of '{name}' without an example in validation, with those in training: {_listed(lacking)}")
        if any(seen.values()) and (unseen := _only_in(held, seen)):
            found.append(f"classes of '{name}' without a label in training, with those in validation: {_listed(unseen)}")
    return found


def _only_in(counts: Mapping[str, int], others: Mapping[str, int]) -> list[str]:
    return [f"{visible(one)} ({count:,})" for one, count in counts.items() if count and not others[one]]


def _repeated(context: TrainingContext) -> list[str]:
    """Return sentences about validation and test examples that are also in training: they make measured quality optimistic.

    The test split is read for this alone, and so that its errors do not end the selection after a whole search.
    """
    known = set(_examples(context.splits["train"]))
    held = {"validation": context.splits["validation"], "test": context.read("test")}
    both = {name: sum(one in known for one in _examples(split)) for name, split in held.items()}
    return [
        f"{count:,} of {len(held[name]):,} {name} examples are also in training, with the same inputs"
        for name, count in both.items()
        if count
    ]


def _examples(examples: Examples) -> list[bytes]:
    """Return a digest of the stored inputs of each example."""
    fields = [field.values for field in examples.inputs.values()]
    return [
        hashlib.blake2b(b"".join(_stored(values, row).numpy().tobytes() for values in fields), digest_size=8).digest()
        for row in range(len(examples))
    ]


def _stored(values: Tensor | Ragged, row: int) -> Tensor:
    return values.values[values.offsets[row] : values.offsets[row + 1]] if isinstance(values, Ragged) else values[row]


def lines(context: TrainingContext) -> list[str]:
    """Return the document as sentences for the start of a sweep."""
    found = document(context)
    classes = [
        f"classes of '{name}', with their training labels: {_listed([f'{visible(one)}: {n:,}' for one, n in of.items()])}"
        for name, of in found["classes"].items()
    ]
    return [*classes, *found["inputs"], *found["notes"]]


def _counts(field: Field) -> dict[str, int]:
    values = field.values.values if isinstance(field.values, Ragged) else field.values
    labels = values[values >= 0].flatten().cpu()
    return dict(zip(field.names, torch.bincount(labels, minlength=len(field.names)).tolist(), strict=True))


def _input(spec: InputSpec) -> str:
    if spec.columns:
        return f"columns: {_listed([_column(column) for column in spec.columns])}"
    return f"input '{spec.name}': {spec.kind} {'×'.join(map(str, spec.shape)) or 1}"


def _column(column: Column) -> str:
    kind = f"words {'/'.join(column.words[:5])}{'/…' if len(column.words) > 5 else ''}" if column.words else column.kind
    return f"{column.name} ({kind})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
