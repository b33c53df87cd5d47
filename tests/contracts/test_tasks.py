"""Every task distinguishes right from wrong, and padding changes no loss, measure, prediction, agreement or captured feature.

The tests of a task whose examples are not vectors with a class have a function `example()`, which returns some examples. Where
labels are not the target of the label sequence's name, one a step, they also have `LABELS`, the names of the targets that are
labels, and `perfect(examples, batch)`, the logits of a network that is right. Where steps are not those of an input, they have
`drawn(examples, batch, seed)`, random logits.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests import own_tests
from tutelage import plugins
from tutelage.data import PAST_THE_END, UNKNOWN, Batch, Examples, classified
from tutelage.networks.capture import capture, sequences_from
from tutelage.tasks import LabelSequence, Sequences, ShowsExamples, Task
from tutelage.training import inference

TASKS = [*plugins.names("tasks"), "tests.own_task:ReadRows"]
OF_OUTPUTS = [one for one in map(plugins.measure, plugins.names("measures")) if one.of_outputs is not None]
FILLINGS = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e3])
ROWS = st.lists(st.integers(0, 39), min_size=1, max_size=6, unique=True)


def any_padding(test: Any) -> Any:
    """Run a test for batches of some rows, padded by `more` steps whose values are `filling`."""
    return settings(max_examples=20)(given(rows=ROWS, more=st.integers(0, 5), filling=FILLINGS)(test))


@cache
def posed(name: str) -> tuple[Task, Examples]:
    """Return a task and examples for it: those of `example` in the task's own tests, or vectors with a class."""
    _, plugin, config = plugins.configure("tasks", name)
    if ":" in name:
        _, source, options = plugins.configure("data", f"{name.partition(':')[0]}:Scans")
        return plugin.build(config), source.read(options, 0, "validation")
    if example := own_tests.part("tasks", name, "example"):
        return plugin.build(config), example()
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(40, 3, generator=generator), torch.randint(0, 3, (40,), generator=generator)
    return plugin.build(config), classified(inputs, labels, ("a", "b", "c"))


def batch_of(name: str, rows: list[int]) -> tuple[Task, Examples, Batch]:
    """Return a task, its examples, and those of these rows as a batch."""
    task, examples = posed(name)
    return task, examples, examples.take(torch.tensor(rows))


def drawn(task: Task, examples: Examples, batch: Batch, seed: int = 0) -> Sequences:
    """Return random logits, each with the mask of the input that its steps belong to."""
    if own := own_tests.part("tasks", type(task).__module__.rpartition(".")[2], "drawn"):
        return own(examples, batch, seed)  # type: ignore[no-any-return]
    generator, found = torch.Generator().manual_seed(seed), {}
    for output in task.outputs(examples):
        mask = batch.masks.get(output.steps or "")
        steps = 1 if mask is None else mask.shape[1]
        logits = torch.randn(len(batch), steps, output.num_classes, generator=generator, dtype=torch.double)
        found[output.name] = LabelSequence(logits=logits, mask=mask)
    return found


def perfect(task: Task, examples: Examples, batch: Batch) -> Sequences:
    """Return the logits of a network that is correct with probability near 1."""
    if own := own_tests.part("tasks", type(task).__module__.rpartition(".")[2], "perfect"):
        return own(examples, batch)  # type: ignore[no-any-return]
    found = {}
    for name, sequence in drawn(task, examples, batch).items():
        labels = batch.labels(name)
        assert labels is not None
        logits = 30.0 * functional.one_hot(labels.clamp(min=0), sequence.logits.shape[-1]).double()
        found[name] = replace(sequence, logits=logits)
    return found


def measures_of(task: Task, sequences: Sequences, batch: Batch) -> dict[str, float]:
    """Return the task's measures, and those of the family that are computed from its outputs."""
    return inference.values_of(task, inference.evaluated(task, sequences, batch, OF_OUTPUTS), OF_OUTPUTS)


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_measures_and_loss_are_best_for_correct_logits(name: str) -> None:
    task, examples = posed(name)
    batch = examples.take(torch.arange(min(20, len(examples))))
    right = perfect(task, examples, batch)
    wrong = {output: replace(one, logits=-one.logits) for output, one in right.items()}
    best, worst = (measures_of(task, found, batch) for found in (right, wrong))
    assert {measure.name for measure in task.measures} <= set(best) == set(worst)
    assert all(one.is_better(best[one.name], worst[one.name]) for one in (*task.measures, *OF_OUTPUTS) if one.name in best)
    assert task.loss(right, batch).max() < 1e-6 < task.loss(wrong, batch).min()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", TASKS)
def test_an_unlabelled_example_has_loss_0_and_is_not_correct(name: str, smoothing: float) -> None:
    task, examples = posed(name)
    batch = examples.take(torch.arange(3))
    targets = {field: target.clone() for field, target in batch.targets.items()}
    for field in own_tests.part("tasks", name, "LABELS", [output.name for output in task.outputs(examples)]):
        targets[field][1] = UNKNOWN
    sequences = drawn(task, examples, batch)
    for one in sequences.values():
        one.logits.requires_grad_()
    whole, losses = (task.loss(sequences, one, smoothing) for one in (batch, replace(batch, targets=targets)))
    assert losses[1] == 0 and torch.equal(losses[[0, 2]], whole[[0, 2]])
    for gradient in torch.autograd.grad(losses.sum(), [one.logits for one in sequences.values()]):
        assert not gradient[1].any() and gradient[0].any()
    found = task.evaluate(perfect(task, examples, batch), replace(batch, targets=targets))
    assert not any(found[measure.name][1].any() for measure in task.measures if measure.spread == "share")


def longer(tensor: Tensor, mask: Tensor, more: int, filling: float) -> Tensor:
    """Return `[batch, steps, …]` with `more` steps, and `filling` at all steps that the mask excludes."""
    wide = functional.pad(tensor, (*[0, 0] * (tensor.ndim - 2), 0, more))
    real = functional.pad(mask, (0, more)).view(len(mask), -1, *[1] * (tensor.ndim - 2))
    return wide.where(real, filling if tensor.is_floating_point() else int(PAST_THE_END))


def padded(batch: Batch, more: int, filling: float) -> Batch:
    def wide(tensors: Any) -> dict[str, Tensor]:
        return {n: longer(t, batch.masks[n], more, filling) if n in batch.masks else t for n, t in tensors.items()}

    masks = {name: functional.pad(mask, (0, more)) for name, mask in batch.masks.items()}
    return replace(batch, inputs=wide(batch.inputs), targets=wide(batch.targets), masks=masks)


def padded_sequences(sequences: Sequences, more: int, filling: float) -> Sequences:
    return {
        name: one if one.mask is None else LabelSequence(
            logits=longer(one.logits, one.mask, more, filling), mask=functional.pad(one.mask, (0, more))
        )
        for name, one in sequences.items()
    }  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", TASKS)
@any_padding
def test_a_tasks_loss_and_its_gradient_do_not_depend_on_padding(
    name: str, smoothing: float, rows: list[int], more: int, filling: float
) -> None:
    task, examples, batch = batch_of(name, rows)
    own = drawn(task, examples, batch)
    other = padded_sequences(own, more, filling)
    for one in (*own.values(), *other.values()):
        one.logits.requires_grad_()
    cost, again = task.loss(own, batch, smoothing), task.loss(other, padded(batch, more, filling), smoothing)
    assert cost.shape == (len(rows),)
    torch.testing.assert_close(again, cost)
    gradients = [
        torch.autograd.grad(total.sum(), [s.logits for s in some.values()]) for total, some in ((cost, own), (again, other))
    ]
    for (sequence, expected), found in zip(zip(own.values(), gradients[0], strict=True), gradients[1], strict=True):
        steps = expected.shape[1]
        torch.testing.assert_close(found[:, :steps], expected)
        assert not found[:, steps:].any() and (sequence.mask is None or not found[:, :steps][~sequence.mask].any())


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=20)
@given(rows=ROWS)
def test_an_examples_loss_does_not_depend_on_the_others(name: str, rows: list[int]) -> None:
    task, examples, batch = batch_of(name, rows)
    sequences = drawn(task, examples, batch)
    together = task.loss(sequences, batch)
    for position, row in enumerate(rows):
        alone = examples.take(torch.tensor([row]))
        own = {}
        for sequence_name, one in sequences.items():
            mask = None if one.mask is None else one.mask[position : position + 1]
            steps = one.logits.shape[1] if mask is None else int(mask.sum())
            logits = one.logits[position : position + 1, :steps]
            own[sequence_name] = LabelSequence(logits=logits, mask=None if mask is None else mask[:, :steps])
        torch.testing.assert_close(task.loss(own, alone), together[position : position + 1])


@pytest.mark.parametrize("name", TASKS)
@any_padding
def test_measures_and_predictions_do_not_depend_on_padding(
    name: str, rows: list[int], more: int, filling: float
) -> None:  # fmt: skip
    task, examples, batch = batch_of(name, rows)
    own = drawn(task, examples, batch)
    other, wide = padded_sequences(own, more, filling), padded(batch, more, filling)
    found, expected = (inference.evaluated(task, *one, OF_OUTPUTS) for one in ((other, wide), (own, batch)))
    assert {measure.name for measure in task.measures} <= set(found) == set(expected)
    for measure, contributions in expected.items():
        np.testing.assert_allclose(found[measure], contributions, rtol=1e-9, atol=1e-12, err_msg=measure)
    assert said(task.decode(other, wide)) == said(task.decode(own, batch))


def said(prediction: Any) -> str:
    """Return predictions as text, without what stands behind a sequence's end."""
    if isinstance(prediction, Tensor) and prediction.ndim > 1:
        return str([[step for step in row if step != PAST_THE_END] for row in prediction.tolist()])
    return str(prediction)


@pytest.mark.parametrize("name", TASKS)
@any_padding
def test_perfect_logits_have_perfect_measures_with_any_padding(
    name: str, rows: list[int], more: int, filling: float
) -> None:  # fmt: skip
    task, examples, batch = batch_of(name, rows)
    sequences = padded_sequences(perfect(task, examples, batch), more, filling)
    found = measures_of(task, sequences, padded(batch, more, filling))
    for measure in (*task.measures, *OF_OUTPUTS):
        best = measure.high if measure.direction == "maximise" else measure.low
        if best is not None:
            assert found.get(measure.name, best) == pytest.approx(best, abs=1e-9), measure.name
    assert task.loss(sequences, padded(batch, more, filling)).max() < 1e-6


@pytest.mark.parametrize("name", TASKS)
@any_padding
def test_agreement_does_not_depend_on_padding(name: str, rows: list[int], more: int, filling: float) -> None:
    task, examples, batch = batch_of(name, rows)
    student, teacher = (drawn(task, examples, batch, seed) for seed in (0, 1))
    expected = inference.agreement(student, teacher)
    found = inference.agreement(*(padded_sequences(one, more, filling) for one in (student, teacher)))
    for measure, values in expected.items():
        np.testing.assert_allclose(found[measure], values, rtol=1e-6)
    itself = inference.agreement(*(padded_sequences(student, more, filling),) * 2)
    assert (itself["agreement"] == 1).all() and (abs(itself["teacher_kl_nats"]) < 1e-6).all()


class Marking(nn.Module):
    """A stage that outputs `filling` at padding, and a head for each sequence."""

    def __init__(self, signature: Any, filling: float) -> None:
        super().__init__()
        own = importlib.import_module("tests.own_task")
        self.reader, self.filling = own.Reader(signature, width=4, depth=1), filling
        self.stage1 = nn.Identity()

    def forward(self, frames: Tensor, mask: Tensor) -> Any:
        features = self.stage1(self.reader.stage1(frames, mask).where(mask.unsqueeze(-1), self.filling))
        return self.reader.head(features, mask)


@any_padding
def test_captured_features_do_not_depend_on_padding(rows: list[int], more: int, filling: float) -> None:
    from tutelage.tasks import signature

    task, examples, batch = batch_of("tests.own_task:ReadRows", rows)
    torch.manual_seed(0)
    model = Marking(signature(task, examples), filling)
    needs: Any = frozenset({"features", "pooled", "maps"})
    expected, found = (capture(model, task, one, needs, {"stage1"}) for one in (batch, padded(batch, more, filling)))
    mask = batch.masks["frames"]
    for part, values in expected.items():
        if part in ("pooled.stage1", "logits.class"):
            torch.testing.assert_close(found[part], values)
            assert values.isfinite().all()
        else:
            torch.testing.assert_close(found[part][:, : mask.shape[1]][mask], values[mask])
    (gradient,) = torch.autograd.grad(found["pooled.stage1"].sum(), [model.reader.stage1.convolution.weight])
    assert gradient.isfinite().all()
    assert set(sequences_from(found)) == {"rows", "class"}


class Tags(HTMLParser):
    """The tags of an HTML text."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.found = set[str]()
        self.feed(shown)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)


@pytest.mark.parametrize("name", [name for name in TASKS if isinstance(posed(name)[0], ShowsExamples)])
def test_a_shown_example_has_every_role_and_no_mark_up_of_the_data(name: str) -> None:
    task, examples = posed(name)
    hostile = replace(
        examples,
        **{
            role: {key: replace(one, names=tuple(f"{word}<i>" for word in one.names)) for key, one in fields.items()}
            for role, fields in (("inputs", examples.inputs), ("targets", examples.targets))
        },
    ).head(1)
    assert isinstance(task, ShowsExamples)
    outputs = drawn(task, examples, hostile.take(slice(None)))
    shown = task.show(hostile, {"teacher": outputs, "<b>": outputs})
    assert "teacher" in shown and "&lt;b&gt;" in shown and "&lt;i&gt;" in shown
    assert not {"i", "b"} & Tags(shown).found
