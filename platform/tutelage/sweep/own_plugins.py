"""Plugins of a user's own are tried before anything is trained: what would fail after hours of a search fails at the door.

Networks and sparsity methods have their own trial, `student_checks`; policies are called before `select` trains anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage import data, plugins
from tutelage.data import Batch
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.networks import checkpoint, forward, stages
from tutelage.networks.weights import weights_of
from tutelage.records.trial import TrialRecord
from tutelage.search import judges, sampler
from tutelage.search.rules import Judge, RuleContext
from tutelage.spec.sections import TrialConfig
from tutelage.spec.spec import Spec
from tutelage.sweep import knowledge
from tutelage.sweep.student_checks import buildable
from tutelage.tasks import DecodesLabels, LabelSequence, Task
from tutelage.training import distillation, inference, rehearsal, student
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Distillation

NUM_EXAMPLES = 8


def check_own_plugins(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError` for a data source, task, measure, sampler or stopping rule of the user's own that does not work.

    Each is called once as a sweep calls it, on a few examples, with an untrained student of the search.
    """
    is_own = {name: plugins.own_code(reference) for name, reference in _named(spec).items()}
    if is_own["data"]:
        _check_repeatable(context, _name(spec.data))
    if is_own["task"] or is_own["measures"]:
        config = buildable(spec, context)[0].config
        model = checkpoint.seeded(context.architecture(config.student.model), spec.seed).eval()
        if is_own["task"]:
            _check_task(context.built_task, _name(spec.task), model, context, has_baseline=_needs_baseline(spec))
        for name in sorted(is_own["measures"]):
            _check_measure(plugins.measure(name), name, model, context)
    if is_own["sampler"]:
        sampler.try_out(spec.space, len(spec.search.objectives), spec.search.sampler, spec.seed)
    if is_own["rule"]:
        check_rule(spec, context)


def _named(spec: Spec) -> Mapping[str, Any]:
    stopping = spec.search.stopping
    own = [objective.spelling for objective in spec.search.objectives if objective.spelling]
    return {
        "data": spec.data, "task": spec.task, "measures": [*own, *spec.search.measures], "sampler": spec.search.sampler,
        "rule": stopping.rule if stopping else None,
    }  # fmt: skip


def _name(reference: Any) -> str:
    return plugins.parse_reference(reference)[0]


def _needs_baseline(spec: Spec) -> bool:
    return not spec.teacher.accept_weak and spec.teacher.required_quality is None


def _check_repeatable(context: TrainingContext, name: str) -> None:
    validation = context.splits["validation"]
    if data.fingerprint(validation) != data.fingerprint(context.read("validation")):
        raise InputError(
            f"data plugin '{name}': reading the validation split twice gives different examples. The same seed must give the "
            "same examples in every process: draw them from a generator that is seeded by `seed`."
        )


@contextmanager
def _verb(what: str, verb: str) -> Iterator[None]:
    with forward.of_user(f"{what}: {verb}"):
        yield


def _check_task(task: Task, name: str, model: nn.Module, context: TrainingContext, *, has_baseline: bool) -> None:
    """Call all verbs of a task with a few examples, and raise `InputError` for what one of them gives wrongly."""
    what = f"task '{name}'"
    rows = context.splits["train"].labelled.nonzero().flatten()[:NUM_EXAMPLES]
    batch = (context.splits["train"].subset(rows) if len(rows) else context.splits["validation"].head(NUM_EXAMPLES)).take(
        slice(None)
    )
    with _verb(what, "forward"):
        sequences = task.forward(model, batch)
    _check_sequences(sequences, what, context, batch)
    with _verb(what, "loss"):
        loss = task.loss(sequences, batch, smoothing=0.1)
    _check_tensor(loss, f"{what}: loss", (len(batch),))
    if not loss.requires_grad:
        raise InputError(f"{what}: loss gives numbers without a gradient. Compute them from the logits.")
    with torch.no_grad(), _verb(what, "evaluate"):
        found = task.evaluate(sequences, batch)
    _check_contributions(found, {measure.name: measure for measure in task.measures}, what, len(batch))
    with torch.no_grad(), _verb(what, "decode"):
        task.decode(sequences, batch)
    if isinstance(task, DecodesLabels):
        with torch.no_grad(), _verb(what, "decoded_labels"):
            decoded = task.decoded_labels(sequences, batch)
        _check_decoded(decoded, sequences, what)
    if has_baseline:
        with _verb(what, "baseline"):
            value = task.baseline(context.splits["train"], context.splits["validation"])
        _check_value(value, f"{what}: baseline")


def _check_sequences(sequences: Any, what: str, context: TrainingContext, batch: Batch) -> None:
    wanted = context.signature.classes
    if not isinstance(sequences, Mapping) or set(sequences) != set(wanted):
        given = f"a {type(sequences).__name__}" if not isinstance(sequences, Mapping) else ", ".join(map(str, sequences))
        raise InputError(f"{what}: forward gives {given}; its outputs are {', '.join(wanted)}.")
    for name, sequence in sequences.items():
        if not isinstance(sequence, LabelSequence):
            raise InputError(f"{what}: forward gives a {type(sequence).__name__} for '{name}', not a LabelSequence.")
        shape = tuple(sequence.logits.shape)
        if len(shape) != 3 or shape[0] != len(batch) or shape[2] != wanted[name]:
            raise InputError(
                f"{what}: forward gives logits of shape {shape} for '{name}'; they are ({len(batch)}, steps, {wanted[name]})."
            )


def _check_decoded(decoded: Any, sequences: Mapping[str, LabelSequence], what: str) -> None:
    """Raise `InputError` unless `decoded` has a class at every real step of each label sequence."""
    for name, sequence in sequences.items():
        labels = decoded.get(name) if isinstance(decoded, Mapping) else None
        steps, classes = tuple(sequence.logits.shape[:2]), sequence.logits.shape[2]
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != steps:
            raise InputError(f"{what}: decoded_labels gives no int64 labels of shape {steps} for '{name}'.")
        real = labels if sequence.mask is None else labels[sequence.mask]
        if real.numel() and not 0 <= int(real.min()) <= int(real.max()) < classes:
            raise InputError(f"{what}: decoded_labels gives a label outside of 0 to {classes - 1} for '{name}'.")


def _check_tensor(value: Any, what: str, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InputError(f"{what} gives {given}; a tensor of shape {shape} is needed, a number for each example.")
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{what} gives {value[~torch.isfinite(value)][0].item()} for an untrained network.")


def _check_contributions(found: Any, measures: Mapping[str, Measure], what: str, count: int) -> None:
    """Raise `InputError` unless `found` has, for each measure, finite contributions `[count, k]` that give a value."""
    if not isinstance(found, Mapping) or (lacking := set(measures) - set(found)):
        missing = f"nothing for {', '.join(sorted(lacking))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise InputError(f"{what}: evaluate gives {missing}; it must give contributions for every one of its `measures`.")
    for name, measure in measures.items():
        with _verb(what, f"the contributions to '{name}'"):
            values = np.asarray(found[name], dtype=np.float64)
        if values.ndim != 2 or len(values) != count:
            raise InputError(f"{what}: the contributions to '{name}' have the shape {values.shape}; ({count}, k) is needed.")
        with _verb(what, f"the value of '{name}'"):
            value = measure.aggregate(values)
        _check_value(value, f"{what}: the value of '{name}' over {count} examples")
        with _verb(what, f"the text of '{name}'"):
            measure.text_with_unit(float(value))


def _check_value(value: Any, what: str) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what} is {value!r:.100}, which is no number.") from None
    if not math.isfinite(number):
        raise InputError(f"{what} is {number}; a finite number is needed.")


def _check_measure(measure: Measure, name: str, model: nn.Module, context: TrainingContext) -> None:
    """Compute a measure of an untrained student, and raise `InputError` for what cannot be searched or recorded."""
    what = f"measure '{name}'"
    measure.document()
    if measure.of_network is None and measure.of_outputs is None and measure not in context.built_task.measures:
        raise InputError(f"{what} has neither of_network nor of_outputs, and the task does not compute it either.")
    examples = context.splits["validation"].head(NUM_EXAMPLES)
    if measure.of_network is not None:
        _check_network_measure(measure, what, model, examples.take(slice(1)))
    if measure.of_outputs is not None:
        batch = examples.take(slice(None))
        with torch.no_grad():
            sequences = context.built_task.forward(model, batch)
        with _verb(what, "of_outputs"):
            found = measure.of_outputs(sequences, batch)
        if found is not None:
            _check_contributions({measure.name: found}, {measure.name: measure}, what, len(batch))


def _check_network_measure(measure: Measure, what: str, model: nn.Module, batch: Batch) -> None:
    assert measure.of_network is not None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad(), _verb(what, "of_network"):
        value: Any = measure.of_network(model, batch)
    _check_value(value, f"{what}: of_network of an untrained student")
    if any(not torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items()):
        raise InputError(f"{what}: of_network changes the network. Work on a copy (copy.deepcopy).")
    if model.training or any(one.training for one in model.modules()):
        raise InputError(f"{what}: of_network leaves the network in training mode. Call model.eval() at its end.")
    value = float(value)
    if (measure.low is not None and value < measure.low) or (measure.high is not None and value > measure.high):
        raise InputError(
            f"{what}: of_network of an untrained student is {value:g}, outside of its bounds, low {measure.low} and high "
            f"{measure.high}."
        )
    with _verb(what, "its scale or format"):
        measure.text_with_unit(value)
        loss = measure.even_loss(value)
    _check_value(loss, f"{what}: the scale of {value:g}")


def check_rule(spec: Spec, context: TrainingContext) -> None:
    """Raise `InputError` for a stopping rule that cannot be built, or fails in the life of three invented students."""
    rules = judges.rule_context(
        spec,
        spec.search.objectives,
        max_epochs=knowledge.longest_epochs(spec),
        num_validation=len(context.splits["validation"]),
    )
    if rules is None or spec.search.stopping is None:
        return
    judge = judges.built(spec.search.stopping.rule, rules)
    records = [_lived(judge, rules, number) for number in range(3)]
    judge.promoted(is_last=True)
    judges.built(spec.search.stopping.rule, rules).resume(records)


def _lived(judge: Judge, rules: RuleContext, number: int) -> TrialRecord:
    """Return the record of an invented student after its life under a judge."""
    values = {one.name: float(one.measure.value_of(0.5 / (number + 1))) for one in rules.objectives}
    row = {rules.primary.name: values[rules.primary.name]}
    known = {name: value for name, value in values.items() if name != rules.primary.name}
    record = TrialRecord(number=number, config={}, params={}, state="running", measures={}, sizes=known)
    for rung in sorted(judge.rungs & set(rules.rungs)):
        record = replace(record, curve=(*record.curve, {"epoch": float(rung), **row}))
        decision = judge.judge(record, {"epoch": rung, **row})
        if decision != "continue":
            record = replace(record, state="paused" if decision == "pause" else "stopped")
            judge.learn(record)
            return record
    record = replace(record, state="finished", measures=values)
    judge.learn(record)
    return record


def check_loss(config: TrialConfig, context: TrainingContext, teacher: nn.Module) -> None:
    """Raise `InputError` for a distillation loss of the user's own that cannot train a student for a few steps."""
    own = plugins.own_code(config.distillation.method)
    if not own:
        return
    outline = stages.outline_of(teacher, context.signature)
    needed = distillation.needs(config)
    query = inference.live(teacher, context.built_task, needed, outline.stages_of_steps)

    what = f"loss '{', '.join(sorted(own))}'"

    def build(model: nn.Module) -> Any:
        loss = distillation.distillation_loss(config, stages.outline_of(model, context.signature), outline)
        return _Watched(loss, what)

    own_weights = weights_of(checkpoint.innermost(teacher)) if "weights" in needed else {}
    weights = checkpoint.rows_of_classes(teacher, own_weights)
    plan = replace(
        student.plan(config, context, context.seed),
        distillation=Distillation(query=query, build=build, weight=0.5, needs=needed, weights=weights),
    )
    model = checkpoint.seeded(context.architecture(config.student.model), context.seed)
    with forward.of_user(f"{what}: a training of a few steps"):
        rehearsal.distilled_steps(model, plan)


class _Watched(nn.Module):
    """A distillation loss whose values are checked."""

    def __init__(self, loss: nn.Module, what: str) -> None:
        super().__init__()
        self.loss, self._what = loss, what

    def forward(self, student: Any, teacher: Any) -> Tensor:
        """Return the loss; `InputError` for one that is no finite scalar, or has no gradient."""
        value: Any = self.loss(student, teacher)
        if not isinstance(value, Tensor) or value.ndim:
            given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(f"{self._what} gives {given}; it must give a tensor without axes, such as a mean.")
        if not value.requires_grad:
            raise InputError(f"{self._what} has no gradient: a student would learn nothing from it.")
        if not bool(torch.isfinite(value)):
            raise InputError(f"{self._what} is {value.item()} for untrained networks.")
        return value
