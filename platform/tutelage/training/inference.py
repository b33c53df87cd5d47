"""What a network outputs for examples, without training it, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tutelage import intervals
from tutelage.data import Batch, Examples
from tutelage.measure import Measure, standard_error_of
from tutelage.networks.capture import capture, sequences_from
from tutelage.networks.output import Need
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig
from tutelage.tasks import LabelSequence, Task, masked_mean
from tutelage.training import augment
from tutelage.training.buckets import by_length

Contributions = Mapping[str, NDArray[np.float64]]  # a measure's name → what each example contributed, [n, k]
Visit = Callable[[Batch, Tensor, Mapping[str, Tensor]], None]


def each(
    model: nn.Module, task: Task, examples: Examples, rows: Tensor, *, needs: frozenset[Need] = frozenset(),
    view: int | None = None, augmentation: AugmentationConfig = AS_IT_IS, view_seed: int = 0, batch_size: int = 512,
    sorts: bool = True,
) -> Iterator[tuple[Tensor, Batch, dict[str, Tensor]]]:  # fmt: skip
    """Give (rows, batch, parts) of what `model` in evaluation mode outputs for the examples `rows`, a batch at a time.

    Parts are named as in `capture`. With a `view`, the examples are that view under `augmentation`; without, they are shown as
    they are. Examples of unequal length come sorted by length if it `sorts`. On the CPU, in float32.
    """
    policy = AS_IT_IS if view is None else augmentation
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        for some in (by_length(examples, rows) if sorts else rows).split(batch_size):
            with torch.inference_mode():
                batch = augment.batch(examples, some, view or 0, policy, view_seed)
                parts = capture(model, task, batch.to(device), needs)
            yield some, batch, {part: _on_cpu(tensor) for part, tensor in parts.items()}
    finally:
        model.train(was_training)


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.cpu() if tensor.dtype == torch.bool else tensor.float().cpu()


Ask = Callable[[int, Tensor, Batch], Mapping[str, Tensor]]


def live(model: nn.Module, task: Task, needs: frozenset[Need]) -> Ask:
    """Return a teacher that is run beside the student, (view, rows, batch) → parts, on the batch's device."""
    model.eval()

    @torch.no_grad()
    def asked(_view: int, _rows: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        return capture(model.to(next(iter(batch.inputs.values())).device), task, batch, needs)

    return asked


def contributions_of(
    model: nn.Module, task: Task, examples: Examples, measures: Sequence[Measure] = (), batch_size: int = 512
) -> Contributions:
    """Return by measure what each example contributed to it, `[n, k]`, in the examples' order.

    These are the task's measures, and those of `measures` that are computed from outputs (`Measure.of_outputs`).
    """
    found: dict[str, NDArray[np.float64]] = {}
    for rows, batch, parts in each(model, task, examples, torch.arange(len(examples)), batch_size=batch_size):
        gather(found, evaluated(task, sequences_from(parts), batch, measures), rows, len(examples))
    return found


def gather(found: dict[str, NDArray[np.float64]], values: Contributions, rows: Tensor, num_examples: int) -> None:
    """Put what the examples `rows` contributed into `found`, `[num_examples, k]` by measure."""
    for name, of_rows in values.items():
        whole = found.setdefault(name, np.zeros((num_examples, of_rows.shape[1])))
        whole[rows.numpy()] = of_rows


def evaluated(
    task: Task, sequences: Mapping[str, LabelSequence], batch: Batch, measures: Sequence[Measure] = ()
) -> Contributions:
    """Return by measure what each example of a batch contributed, `[batch, k]`."""
    found = {name: values.double().cpu().numpy() for name, values in task.evaluate(sequences, batch).items()}
    extra = {one.name: one.of_outputs(sequences, batch) for one in measures if one.of_outputs is not None}
    return {**found, **{name: np.asarray(values, dtype=np.float64) for name, values in extra.items()}}


def values_of(task: Task, contributions: Contributions, measures: Sequence[Measure] = ()) -> dict[str, float]:
    """Return the value of every measure that there are contributions to.

    The standard error of the primary one over the examples stands beside it, unless it is a share and its value tells it.
    """
    known, primary = {measure.name: measure for measure in (*task.measures, *measures)}, task.measures[0]
    values = {name: float(known[name].aggregate(found)) for name, found in contributions.items()}
    if primary.spread in ("mean", "corpus"):
        values[standard_error_of(primary)] = intervals.standard_error(primary, contributions[primary.name])
    return values


def measured(model: nn.Module, task: Task, examples: Examples, measures: Sequence[Measure] = ()) -> dict[str, float]:
    """Return the task's measures of `model` on the examples, and those of `measures` that outputs give."""
    return values_of(task, contributions_of(model, task, examples, measures), measures)


def agreement(student: Mapping[str, LabelSequence], teacher: Mapping[str, LabelSequence]) -> Contributions:
    """Return how far a student repeats its teacher on the same examples: `agreement` and `teacher_kl_nats`, `[batch, 1]`.

    The first is the share of an example's real steps with the same top class, the second the mean KL(teacher ‖ student) of its
    real steps at temperature 1; of several label sequences the mean of both.
    """
    same, divergence = [], []
    for name, own in student.items():
        other = teacher[name].logits
        same.append(masked_mean((own.logits.argmax(-1) == other.argmax(-1)).double(), own.mask))
        logs, known = (logits.float().log_softmax(dim=-1) for logits in (own.logits, other))
        divergence.append(masked_mean((known.exp() * (known - logs)).sum(dim=-1).double(), own.mask))
    found = {"agreement": same, "teacher_kl_nats": divergence}
    return {name: torch.stack(values, dim=-1).mean(dim=-1, keepdim=True).numpy() for name, values in found.items()}
