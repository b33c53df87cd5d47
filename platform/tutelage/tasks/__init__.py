"""Tasks, one file each: the label sequences that a network outputs, their label loss, and their quality measures.

Tasks and distillation losses are independent of each other: both work on label sequences. Only tasks decode predictions,
count classes and average over steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import UNKNOWN, Batch, Examples
from tutelage.errors import InputError
from tutelage.masks import masked_mean
from tutelage.measure import Measure
from tutelage.signature import OutputSpec, Signature


@dataclass(frozen=True, kw_only=True)
class LabelSequence:
    """A label sequence: `logits` `[batch, steps, classes]`, and a `mask` `[batch, steps]`, True at real steps (None: all)."""

    logits: Tensor
    mask: Tensor | None = None

    @property
    def real(self) -> Tensor:
        """Booleans `[batch, steps]`, True at real steps."""
        return torch.ones_like(self.logits[..., 0], dtype=torch.bool) if self.mask is None else self.mask

    def unpadded(self, values: Tensor) -> list[list[int]]:
        """Return the integers `values` `[batch, steps]` at the real steps of each example."""
        return [row[kept].tolist() for row, kept in zip(values.cpu(), self.real.cpu(), strict=True)]


Sequences = Mapping[str, LabelSequence]


class Task(Protocol):
    """The interface of a task, which a plugin's `build(config)` returns. The first of `measures` is the primary measure."""

    measures: tuple[Measure, ...]

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return the label sequences that a network must output for these examples; they determine the network's heads."""
        ...

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the label sequences of `batch` by name."""
        ...

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the loss `[batch]` of each example against its targets, over real steps only.

        `smoothing` is the share of a label's probability that is spread over all classes. An `UNKNOWN` label has loss 0 and
        no gradient.
        """
        ...

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return the contributions of each example by measure, float64 `[batch, k]`, for the measure's `aggregate`."""
        ...

    def decode(self, sequences: Sequences, batch: Batch) -> Any:
        """Return the prediction for every example, in the format of the task's targets."""
        ...

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the primary measure of a simple model on validation, which a useful teacher exceeds."""
        ...


@runtime_checkable
class ShowsExamples(Task, Protocol):
    """A task whose examples can be shown in a sweep's report. A task need not have this method."""

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return one example as HTML in which all text is escaped: input, labels, and what each network predicts.

        `example` has one row; `outputs` are the label sequences `[1, steps, classes]` of this example by the network's role,
        such as `teacher` and `student`. `tutelage.tasks._html` has tables and pictures.
        """
        ...


@runtime_checkable
class FocusesSteps(Task, Protocol):
    """A task whose steps matter unequally, as the edges of cells without an object do. A task need not have this method."""

    def focus(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return how much each step matters, 0 or more, `[batch, steps]`, for those label sequences whose steps do unequally.

        `sequences` are a teacher's, for a batch that may be unlabelled.
        """
        ...


@runtime_checkable
class LocatesObjects(Task, Protocol):
    """A task whose inputs have objects at known places. A task need not have this method."""

    def regions(self, batch: Batch) -> Tensor:
        """Return the places of the objects, `[batch, regions, 4]`: left, top, right, bottom, as shares of width and height.

        Behind the last object of an example, all are 0.
        """
        ...


@runtime_checkable
class ChecksSteps(Task, Protocol):
    """A task whose labels need some number of steps, as CTC's strings do. A task need not have this method."""

    def check_steps(self, steps: Mapping[str, int], train: Examples) -> None:
        """Raise `InputError` for training examples whose labels need more steps than a network gives.

        `steps` are the network's for an example of typical length, by label sequence (`Outline.steps`).
        """
        ...


@runtime_checkable
class DecodesLabels(Task, Protocol):
    """A task whose predictions are labels of its label sequences, from which a student can learn. A task need not have this."""

    def decoded_labels(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return what `decode` predicts as labels int64 `[batch, steps]`, by label sequence; any class at padding."""
        ...


def signature(task: Task, examples: Examples) -> Signature:
    """Return the signature of a network for this task and these examples."""
    return Signature(inputs=examples.input_specs, outputs=task.outputs(examples))


def called(model: nn.Module, batch: Batch, *names: str) -> dict[str, Tensor]:
    """Return a network's logits `[batch, steps, classes]` for a batch, by the label sequences `names`.

    A network returns a mapping by name, a tuple in the order of `names`, or the tensor of a single sequence. A tensor
    `[batch, classes]` is a sequence of one step.
    """
    logits = by_sequence(model(*batch.arguments), names)
    return {name: logits[name].unsqueeze(1) if logits[name].ndim == 2 else logits[name] for name in names}


def by_sequence(result: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return a network's result by label sequence: it is a mapping, a tuple in the order of `names`, or the only output.

    Raises `InputError` for a result of another form.
    """
    found: Mapping[str, Any] = {}
    if isinstance(result, Mapping):
        found = result
    elif isinstance(result, tuple | list):
        found = dict(zip(names, result, strict=False)) if len(result) == len(names) else {}
    elif len(names) == 1:
        found = {names[0]: result}
    if all(name in found and hasattr(found[name], "shape") for name in names):
        return {name: found[name] for name in names}
    wanted = "the logits as a tensor" if len(names) == 1 else f"a mapping with {', '.join(names)}, or a tuple in this order"
    raise InputError(f"the network returns {_in_words(result)}; it must return {wanted}.")


def _in_words(result: Any) -> str:
    kind = f"a {type(result).__name__}"
    if isinstance(result, Mapping):
        return f"{kind} with {', '.join(f'{key} ({type(value).__name__})' for key, value in result.items()) or 'nothing'}"
    return f"{kind} of {', '.join(type(one).__name__ for one in result)}" if isinstance(result, tuple | list) else kind


def cross_entropy(sequence: LabelSequence, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy in nats `[batch]` over each example's real, labelled steps; 0 for an example without any.

    `labels` are int64 `[batch, steps]`, `UNKNOWN` at unlabelled steps. Values at other steps change neither the loss nor its
    gradient.
    """
    counted = (labels != UNKNOWN) & sequence.real
    logits = sequence.logits.where(counted.unsqueeze(-1), 0.0)  # before the loss, because 0 times NaN is NaN
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.where(counted, UNKNOWN).flatten(), ignore_index=UNKNOWN, label_smoothing=smoothing,
        reduction="none",
    )  # fmt: skip
    return masked_mean(losses.view_as(labels), counted)
