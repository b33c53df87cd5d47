"""The distillation that a student's config describes: the loss, the outputs that it compares, and their source."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import get_args

from torch import Tensor, nn

from tutelage import plugins
from tutelage.data import Batch
from tutelage.errors import InputError
from tutelage.foreign import blamed
from tutelage.losses import Loss, for_sequences, needs_of, scaled
from tutelage.networks import stages, top_k
from tutelage.networks.output import Need, Outline
from tutelage.spec.sections import TrialConfig
from tutelage.training import inference
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_layout import rows_of
from tutelage.training.plan import Distillation


def needs(config: TrialConfig) -> frozenset[Need]:
    """Return the parts of the outputs that the config's distillation loss compares beside the logits."""
    name, plugin, options = plugins.configure("losses", config.distillation.method)
    with blamed(f"loss '{name}': needs") if _is_own(config) else nullcontext():
        found = needs_of(plugin, options)
    if not isinstance(found, frozenset | set) or (unknown := found - set(get_args(Need))):
        given = ", ".join(sorted(map(repr, unknown))) if isinstance(found, frozenset | set) else repr(found)
        raise InputError(f"loss '{name}' needs {given}. Its NEEDS are a frozenset of {', '.join(get_args(Need))}.")
    return frozenset(found)


def _is_own(config: TrialConfig) -> bool:
    return bool(plugins.own_code(config.distillation.method))


def distillation_loss(config: TrialConfig, student_outline: Outline, teacher: Outline) -> Loss:
    """Return the config's distillation loss for two networks. Raises `InputError` if it cannot compare them."""
    name, plugin, options = plugins.configure("losses", config.distillation.method)
    if config.distillation.raw and hasattr(options, "raw"):  # a mixture: its terms are scaled one by one
        options = options.model_copy(update={"raw": True})

    def build_one(own: Outline, other: Outline) -> Loss:
        loss: Loss = plugin.build(options, config.distillation.temperature, own, other)
        return loss if config.distillation.raw else scaled(loss, own.classes)

    with blamed(f"loss '{name}': build") if _is_own(config) else nullcontext():
        return for_sequences(plugin, options, student_outline, teacher, build_one)


def distillation_of(config: TrialConfig, context: TrainingContext) -> Distillation | None:
    """Return the student's distillation; None with a weight of 0 or without a teacher."""
    plan = context.knowledge
    if config.distillation.weight == 0.0 or plan is None:
        return None
    needed = needs(config)

    def loss_for(model: nn.Module) -> Loss:
        return distillation_loss(config, stages.outline_of(model, context.signature), context.teacher_outline)

    return Distillation(
        query=_teacher_query(context, needed), build=loss_for, weight=config.distillation.weight, needs=needed,
        weights=context.teacher_weights if "weights" in needed else {},
        head=context.teacher_head if "head" in needed else None,
    )  # fmt: skip


def _teacher_query(context: TrainingContext, needed: frozenset[Need]) -> inference.TeacherQuery:
    """Return the teacher's query: it reads the cached outputs for the view, or runs a live teacher."""
    cached = context.cached_knowledge
    if cached is None:
        return inference.live(context.teacher, context.built_task, needed, context.teacher_outline.stages_of_steps)
    wanted = {"logits", "drawn", *top_k.PARTS, *needed}

    def query(view: int, rows: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        device, parts = next(iter(batch.inputs.values())).device, cached.view("train", view)
        return {part: rows_of(t, rows).to(device) for part, t in parts.items() if part.partition(".")[0] in wanted}

    return query
