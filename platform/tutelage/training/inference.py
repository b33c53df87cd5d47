"""Inference: a network's outputs for examples, and its quality measures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tutelage import intervals
from tutelage.data import Batch, Examples
from tutelage.masks import masked_mean
from tutelage.measure import Measure, standard_error_of
from tutelage.networks.capture import capture, sequences_from
from tutelage.networks.output import Need
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig
from tutelage.tasks import LabelSequence, Task
from tutelage.training import augment
from tutelage.training.buckets import by_length

Contributions = Mapping[str, NDArray[np.float64]]  # a measure's name → what each example contributed, [n, k]
Visit = Callable[[Batch, Tensor, Mapping[str, Tensor]], None]


def each(
    model: nn.Module, task: Task, examples: Examples, rows: Tensor, *, needs: frozenset[Need] = frozenset(),
    stages_of_steps: Collection[str] = (), view: int | None = None, augmentation: AugmentationConfig = AS_IT_IS,
    view_seed: int = 0, batch_size: int = 512, sorts: bool = True,
) -> Iterator[tuple[Tensor, Batch, dict[str, Tensor]]]:  # fmt: skip
    """Yield (rows, batch, parts) for each batch of the examples `rows`, with `model` in evaluation mode.

    Parts are named as in `capture`, and are on the CPU in float32. With a `view`, the examples are augmented as in that view;
    without, they are not augmented. With `sorts`, examples of unequal length are sorted by length.
    """
    policy = AS_IT_IS if view is None else augmentation
    was_training = model.training
    model.eval()
    try:
        for some in (by_length(examples, rows) if sorts else rows).split(batch_size):
            with torch.inference_mode():
                batch = augment.batch(examples, some, view or 0, policy, view_seed)
                parts = on_cpu(model, task, batch, needs, stages_of_steps)
            yield some, batch, parts
    finally:
        model.train(was_training)


def on_cpu(
    model: nn.Module, task: Task, batch: Batch, needs: frozenset[Need] = frozenset(), stages_of_steps: Collection[str] = ()
) -> dict[str, Tensor]:  # fmt: skip
    """Return the parts of a network's outputs for a batch, computed on its device; they are on the CPU in float32."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    parts = capture(model, task, batch.to(device), needs, stages_of_steps)
    return {part: one.cpu() if one.dtype == torch.bool else one.float().cpu() for part, one in parts.items()}


TeacherQuery = Callable[[int, Tensor, Batch], Mapping[str, Tensor]]


def live(model: nn.Module, task: Task, needs: frozenset[Need], stages_of_steps: Collection[str] = ()) -> TeacherQuery:
    """Return a query that runs the teacher during training: (view, rows, batch) → parts, on the batch's device."""
    model.eval()

    @torch.no_grad()
    def query(_view: int, _rows: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        return capture(model.to(next(iter(batch.inputs.values())).device), task, batch, needs, stages_of_steps)

    return query


def contributions_of(
    model: nn.Module, task: Task, examples: Examples, measures: Sequence[Measure] = (), batch_size: int = 512
) -> Contributions:
    """Return the contributions of each example by measure, `[n, k]`, in the order of the examples.

    The measures are the task's, and those of `measures` that are computed from outputs (`Measure.of_outputs`).
    """
    found: dict[str, NDArray[np.float64]] = {}
    for rows, batch, parts in each(model, task, examples, torch.arange(len(examples)), batch_size=batch_size):
        gather(found, evaluated(task, sequences_from(parts), batch, measures), rows, len(examples))
    return found


def gather(found: dict[str, NDArray[np.float64]], values: Contributions, rows: Tensor, num_examples: int) -> None:
    """Write the contributions of the examples `rows` into `found`, `[num_examples, k]` by measure."""
    for name, of_rows in values.items():
        of_all = found.setdefault(name, np.zeros((num_examples, of_rows.shape[1])))
        of_all[rows.numpy()] = of_rows


def evaluated(
    task: Task, sequences: Mapping[str, LabelSequence], batch: Batch, measures: Sequence[Measure] = ()
) -> Contributions:
    """Return the contributions of each example of a batch by measure, `[batch, k]`, where its targets give one."""
    found = {name: values.double().cpu().numpy() for name, values in task.evaluate(sequences, batch).items()}
    extra = {one.name: one.of_outputs(sequences, batch) for one in measures if one.of_outputs is not None}
    return {**found, **{name: np.asarray(values, dtype=np.float64) for name, values in extra.items() if values is not None}}


def values_of(task: Task, contributions: Contributions, measures: Sequence[Measure] = ()) -> dict[str, float]:
    """Return the value of every measure in `contributions`.

    The standard error of the primary measure over the examples is added if the measure is a mean or a corpus measure; that of
    a share follows from its value.
    """
    by_name, primary = {measure.name: measure for measure in (*task.measures, *measures)}, task.measures[0]
    values = {name: float(by_name[name].aggregate(found)) for name, found in contributions.items()}
    if primary.spread in ("mean", "corpus"):
        values[standard_error_of(primary)] = intervals.standard_error(primary, contributions[primary.name])
    return values


def measured(model: nn.Module, task: Task, examples: Examples, measures: Sequence[Measure] = ()) -> dict[str, float]:
    """Return the task's measures of `model` on the examples, and those of `measures` that are computed from outputs."""
    return values_of(task, contributions_of(model, task, examples, measures), measures)


def agreement(
    student: Mapping[str, LabelSequence], teacher: Mapping[str, LabelSequence], focus: Mapping[str, Tensor] | None = None
) -> Contributions:
    """Return a student's `agreement` with its teacher and `teacher_kl_nats` on the same examples, `[batch, 1]` each.

    Agreement is the share of an example's real steps with the same top class. The KL divergence is the mean
    KL(teacher ‖ student) over its real steps at temperature 1. With several label sequences, both are means over them. A
    label sequence of which student and teacher have other steps is left out; without any, there is no agreement. With a task's
    `focus`, the divergence is a mean weighted by it.
    """
    same, divergence = [], []
    for name, own in student.items():
        other = teacher[name].logits
        if other.shape[1] != own.logits.shape[1]:
            continue
        same.append(masked_mean((own.logits.argmax(-1) == other.argmax(-1)).double(), own.mask))
        logs, target = (logits.float().log_softmax(dim=-1) for logits in (own.logits, other))
        apart = (target.exp() * (target - logs)).sum(dim=-1).double()
        weights = torch.ones_like(apart) if focus is None or name not in focus else focus[name].double()
        weighted, total = (masked_mean(one, own.mask) for one in (weights * apart, weights))
        divergence.append(weighted / total.where(total > 0, 1.0))
    if not same:
        return {}
    found = {"agreement": same, "teacher_kl_nats": divergence}
    return {name: torch.stack(values, dim=-1).mean(dim=-1, keepdim=True).numpy() for name, values in found.items()}
