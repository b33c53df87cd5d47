"""Every loss on every task of sequences: padding in the outputs of real networks changes neither a loss nor its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.test_plugins import LOSS_OPTIONS, LOSSES, VARIANTS
from tests.contracts.test_tasks import posed
from tutelage import plugins
from tutelage.data import Batch
from tutelage.errors import InputError
from tutelage.losses import Loss, for_sequences, needs_of
from tutelage.masks import mask_of_steps
from tutelage.networks import capture, stages
from tutelage.networks.output import OF_TEACHER, Need, Outline
from tutelage.signature import Signature
from tutelage.tasks import DecodesLabels, Task, signature

pytestmark = pytest.mark.slow
WITH_ATTENTION = ("transformer", "causal_transformer")
TASKS = [name for name in plugins.names("tasks") if any(spec.is_ragged for spec in posed(name)[1].input_specs)]
COMPARED = set(LOSSES) - {"cross_kd"}  # it takes the head of a detector


@cache
def setting(name: str) -> tuple[Task, Signature, Batch, nn.Module, nn.Module]:
    """Return a task, its signature, a batch of examples of unequal length, and two networks, with attention if any has it."""
    task, examples = posed(name)
    found = signature(task, examples)
    plugin, config = next(filter(None, (_builder(one, found) for one in (*WITH_ATTENTION, *plugins.names("models")))))
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(plugin.build(config, found).double().eval())
    rows = torch.arange(min(6, len(examples)))
    batch = examples.take(rows)
    doubled = {name: one.double() if one.is_floating_point() else one for name, one in batch.inputs.items()}
    return task, found, replace(batch, inputs=doubled), *networks


def _builder(model: str, found: Signature) -> tuple[Any, Any] | None:
    """Return the plugin and the options of a model; None if it does not take these inputs, or needs options."""
    try:
        _, plugin, config = plugins.configure("models", model)
        with torch.device("meta"):
            plugin.build(config, found)
    except InputError:
        return None
    return plugin, config


def built(loss: str, name: str) -> tuple[Loss, frozenset[Need], Outline]:
    """Return a loss for the networks of a task, what it compares, and their outline."""
    plain, options = VARIANTS.get(loss, (loss, LOSS_OPTIONS.get(loss, {})))
    _, plugin, config = plugins.configure("losses", {plain: options})
    task, found, _, network, _ = setting(name)
    if "decoded" in needs_of(plugin, config) and not isinstance(task, DecodesLabels):
        raise InputError(f"task '{name}' decodes no labels")
    outline = stages.outline_of(network.float(), found)
    network.double()
    torch.manual_seed(0)
    compared = for_sequences(plugin, config, outline, outline, lambda own, other: plugin.build(config, 1.0, own, other))
    return compared.double().eval(), needs_of(plugin, config), outline


def spoiled(parts: Mapping[str, Tensor], batch: Batch, stepped: frozenset[str]) -> dict[str, Tensor]:
    """Return a network's parts with NaN at all padding, of stages whose positions are steps and of label sequences."""
    found = dict(parts)
    for part, tensor in parts.items():
        kind, _, name = part.partition(".")
        if kind == "mask" or kind == "pooled" or (kind in ("features", "maps", "qkv", "heads") and name not in stepped):
            continue
        steps = tensor.shape[-1] if kind == "heads" else tensor.shape[1]
        mask = parts.get(f"mask.{name}") if kind in ("logits", "decoded") else mask_of_steps(steps, batch.input_mask)
        if mask is not None:
            real = (mask.unsqueeze(1) & mask.unsqueeze(2)).unsqueeze(1) if kind == "heads" else mask
            real = real.view(*real.shape, *[1] * (tensor.ndim - real.ndim))
            found[part] = tensor.where(real, float("nan") if tensor.is_floating_point() else 99)
    return found


def learnt(loss: Loss, needs: frozenset[Need], name: str, outline: Outline, *, spoils: bool) -> list[Tensor]:
    """Return the loss of a task's batch, and the gradients of the student's weights and of the loss's adapters."""
    task, found, batch, own, other = setting(name)
    stepped = outline.stages_of_steps
    student = capture.capture(own, task, batch, needs - OF_TEACHER, stepped)
    with torch.no_grad():
        teacher = capture.capture(other, task, batch, needs, stepped)
    if spoils:
        student, teacher = (spoiled(parts, batch, stepped) for parts in (student, teacher))
    pair: list[Any] = [
        capture.outputs_from(parts, dict(network.named_parameters()) if "weights" in needs else {}, found.classes)
        for parts, network in ((student, own), (teacher, other))
    ]
    for sequence, output in pair[1].items():
        pair[1][sequence] = replace(output, labels=batch.labels(sequence), input_mask=batch.input_mask)
    value = loss(*pair)
    weights = [weight for weight in (*own.parameters(), *loss.parameters()) if weight.requires_grad]
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    return [value.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("loss", LOSSES)
def test_nan_in_padding_changes_neither_a_loss_nor_the_gradients_of_a_network(loss: str, name: str) -> None:
    try:
        compared, needs, outline = built(loss, name)
    except InputError as error:
        pytest.skip(str(error))
    mask = setting(name)[2].input_mask
    assert mask is not None and not mask.all(), "some steps are padding"
    expected = learnt(compared, needs, name, outline, spoils=False)
    assert expected[0].isfinite() and expected[0] > 0 and len(expected) > 1
    torch.testing.assert_close(learnt(compared, needs, name, outline, spoils=True), expected)


def test_every_loss_is_compared_on_a_task_of_sequences() -> None:
    assert set(TASKS) >= {"tagging", "text_classification", "language_model", "ocr", "video"}
    assert {loss for loss in LOSSES if any(_is_compared(loss, name) for name in TASKS)} >= COMPARED


def _is_compared(loss: str, name: str) -> bool:
    try:
        built(loss, name)
    except InputError:
        return False
    return True
