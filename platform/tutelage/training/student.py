"""From a trial's config to a network, its training and its sizes. No Ray, no search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage import plugins
from tutelage.data import Batch
from tutelage.errors import InputError, TutelageError
from tutelage.losses import Loss, for_sequences, needs_of, scaled
from tutelage.measures.agreement import MEASURE as AGREEMENT
from tutelage.measures.teacher_kl_nats import MEASURE as TEACHER_KL
from tutelage.networks import checkpoint, cost, forward, inherit, stages, timing, top_k
from tutelage.networks.blank import blank_arguments
from tutelage.networks.capture import sequences_from
from tutelage.networks.output import Need, Outline
from tutelage.records.trial import Sizes
from tutelage.sparsity import Method, Point
from tutelage.spec.sections import RecipeConfig, TrialConfig
from tutelage.training import inference
from tutelage.training.context import TrainingContext
from tutelage.training.plan import Distillation, Phase, TrainingPlan

FINE_TUNING_RATE = 0.1  # of the student's learning rate, so that fine-tuning does not undo distillation
INHERITING = {"teacher": inherit.cut, "teacher_svd": inherit.projected}

NOTHING_TO_INHERIT = (
    "student.initialise: no weight of the teacher has the name and at least the size of one of the student's. "
    "Give both the same family, the student no wider; or initialise: random."
)


def untrained(config: TrialConfig, context: TrainingContext, seed: int) -> nn.Module:
    """Return the untrained student with random initial weights; `initialise` is ignored. It can be sized and timed."""
    model = checkpoint.seeded(context.architecture(config.student.model), seed)
    return stages.name_layers(model, config.student.layers)


def blank(config: TrialConfig, context: TrainingContext) -> nn.Module:
    """Return the untrained student on the meta device (`checkpoint.blank`)."""
    return checkpoint.blank(context.architecture(config.student.model))


def with_random_weights(config: TrialConfig) -> TrialConfig:
    """Return the config with random initial weights: its student has the same sizes, and can be sized without a teacher."""
    return config.model_copy(update={"student": config.student.model_copy(update={"initialise": "random"})})


def build(config: TrialConfig, context: TrainingContext, seed: int) -> nn.Module:
    """Return the untrained student; its initial weights depend on `seed` and, if `initialise` inherits, on its teacher."""
    model = untrained(config, context, seed)
    if config.student.initialise in INHERITING:
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        model.load_state_dict(INHERITING[config.student.initialise](context.teacher_weights, shapes), strict=False)
    return model


def can_inherit(model: nn.Module, teachers_weights: Mapping[str, Sequence[int]]) -> bool:
    """Return whether a matrix of the student has the name and at most the size of one of the teacher's, by their shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return bool(inherit.matched(shapes, teachers_weights, "name"))


def sparsity_of(config: TrialConfig) -> Callable[[], Method] | None:
    """Return what makes the config's sparsity method for a training; None where nothing is removed."""
    if config.sparsity.amount == 0.0:
        return None
    _, plugin, options = plugins.configure("sparsity", config.sparsity.method)
    return partial(plugin.build, options, config.sparsity.amount)


def recoveries(config: TrialConfig) -> tuple[int, ...]:
    """Return how many of the student's epochs follow each removal."""
    new_method = sparsity_of(config)
    return new_method().recoveries(config.student.epochs) if new_method else ()


def needs(config: TrialConfig) -> frozenset[Need]:
    """Return what the config's distillation loss compares beside the logits."""
    _, plugin, options = plugins.configure("losses", config.distillation.method)
    return needs_of(plugin, options)


def distillation_loss(config: TrialConfig, student_outline: Outline, teacher: Outline) -> Loss:
    """Return the config's distillation loss for two networks. Raises `InputError` if it cannot compare them."""
    _, plugin, options = plugins.configure("losses", config.distillation.method)
    if config.distillation.raw and hasattr(options, "raw"):  # a mixture, whose terms are scaled one by one
        options = options.model_copy(update={"raw": True})

    def build_one(own: Outline, other: Outline) -> Loss:
        loss: Loss = plugin.build(options, config.distillation.temperature, own, other)
        return loss if config.distillation.raw else scaled(loss, own.classes)

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
    )  # fmt: skip


def _teacher_query(context: TrainingContext, needed: frozenset[Need]) -> inference.TeacherQuery:
    """Return the teacher's query: it reads the cached outputs for the view, or runs a live teacher."""
    cached = context.cached_knowledge
    if cached is None:
        return inference.live(context.teacher, context.built_task, needed)
    wanted = {"logits", *top_k.PARTS, *needed}

    def query(view: int, rows: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        device, parts = next(iter(batch.inputs.values())).device, cached.view("train", view)
        return {part: t[rows].to(device) for part, t in parts.items() if part.partition(".")[0] in wanted}

    return query


def phases(config: TrialConfig, *, is_distilled: bool) -> tuple[Phase, ...]:
    """Return the student's phases in order: pre-training, distillation, distillation after each removal, fine-tuning.

    Pre-training and fine-tuning are label-only. Without a teacher, a training has no such phases.
    """
    epochs, recovery = config.student.epochs, recoveries(config)
    pretraining, fine_tuning = (pretrain_epochs(config), config.student.fine_tune_epochs) if is_distilled else (0, 0)
    found = (
        Phase(epochs=pretraining, is_distilled=False),
        Phase(epochs=max(0, epochs - pretraining - sum(recovery) - fine_tuning)),
        *(Phase(epochs=after, sparsifies=True) for after in recovery),
        Phase(epochs=fine_tuning, is_distilled=False, rate=FINE_TUNING_RATE),
    )
    return tuple(phase for phase in found if phase.epochs)


def pretrain_epochs(config: TrialConfig) -> int:
    """Return the number of label-only epochs before distillation."""
    if config.student.initialise != "pretrained":
        return 0
    return config.student.pretrain_epochs or max(1, config.student.epochs // 4)


def check_epochs(config: TrialConfig) -> None:
    """Raise `InputError` for a student whose other phases leave no epoch for distillation."""
    recovery = sum(recoveries(config))
    taken = pretrain_epochs(config) + recovery + config.student.fine_tune_epochs
    if config.student.epochs <= taken:
        raise InputError(
            f"student.epochs {config.student.epochs}: {pretrain_epochs(config)} of pre-training, "
            f"{recovery} after sparsification and {config.student.fine_tune_epochs} of fine-tuning leave none "
            "for distillation. Set more epochs."
        )


def plan(config: TrialConfig, context: TrainingContext, seed: int) -> TrainingPlan:
    """Return the student's training plan."""
    distillation = distillation_of(config, context)
    if distillation is not None:
        check_epochs(config)
    return TrainingPlan(
        task=context.built_task,
        train=context.splits["train"],
        validation=context.splits["validation"],
        signature=context.signature,
        recipe=config.student,
        execution=config.student.execution,
        seed=seed,
        augmentation=context.augmentation,
        views=context.knowledge.views if context.knowledge else 0,
        view_seed=context.seed,
        phases=phases(config, is_distilled=distillation is not None),
        distillation=distillation,
        sparsity=sparsity_of(config),
    )


def architecture_of(config: TrialConfig, context: TrainingContext, point: Point) -> dict[str, Any]:
    """Return the architecture of a candidate, with the surgery that changed what its model plugin builds."""
    architecture = context.architecture(config.student.model)
    if point.surgery is None:
        return architecture
    surgery = {"method": config.sparsity.method, "amount": point.amount, "surgery": dict(point.surgery)}
    return {**architecture, "surgeries": [surgery]}


def label_only_plan(recipe: RecipeConfig, context: TrainingContext) -> TrainingPlan:
    """Return a teacher's training plan: label-only, with a new view every epoch."""
    return TrainingPlan(
        task=context.built_task,
        train=context.splits["train"],
        validation=context.splits["validation"],
        signature=context.signature,
        recipe=recipe,
        seed=context.seed,
        augmentation=context.augmentation,
        views=0,
        view_seed=context.seed,
    )


def presize(config: TrialConfig, context: TrainingContext) -> Sizes:
    """Return the sizes and MACs of the student's first candidate before training; none if training decides them.

    A student without sparsity is sized on the meta device, which needs no computation. With a sparsity method whose result
    does not depend on the weights, the method is applied to an untrained student. Raises `InputError` if the values make no
    network, or if the student is to inherit weights of its teacher and none fits.
    """
    if config.student.initialise in INHERITING and not can_inherit(blank(config, context), context.teacher_outline.weights):
        raise InputError(NOTHING_TO_INHERIT)
    whole = _sizes(blank(config, context), context)
    if config.sparsity.amount == 0.0:
        return Sizes(final=whole)
    smaller = _smaller(config, context)
    return Sizes(final=_sizes(smaller, context), initial=whole) if smaller is not None else Sizes()


def _sizes(model: nn.Module, context: TrainingContext) -> dict[str, float]:
    sizes = {**cost.size(model), **cost.macs(model, context.signature), **network_measures(model, context, early=True)}
    sizes.pop("nonzero_params", None)
    return sizes


def _smaller(config: TrialConfig, context: TrainingContext) -> nn.Module | None:
    """Return the untrained student after its sparsity method; None if training decides the result."""
    new_method = sparsity_of(config)
    model = untrained(config, context, seed=0)
    if new_method is None:
        return model
    try:
        return new_method().presized(model, blank_arguments(context.signature, 2))
    except TutelageError:
        raise
    except Exception as error:  # a sparsity method of a user's may raise anything
        method = plugins.described(config.sparsity.method)
        raise InputError(f"sparsity method '{method}' fails on this network: {forward.reason(error)}.") from error


def latency_floor_ms(config: TrialConfig, context: TrainingContext) -> float:
    """Return the shortest time of several passes of the untrained student over one example, on this machine's processor.

    It is a lower bound of the student's median latency on this machine or a slower one; 0 if training decides its size.
    """
    model = _smaller(config, context)
    return timing.fastest_ms(model, blank_arguments(context.signature, 1)) if model else 0.0


def final_measures(model: nn.Module, context: TrainingContext) -> dict[str, float]:
    """Return a student's measures on validation, of the task and the user, agreement with its teacher, sizes and MACs."""
    task, found = context.built_task, validation_contributions(model, context)
    measures = inference.values_of(task, found, (AGREEMENT, TEACHER_KL, *context.measures))
    sizes = {**cost.size(model), **cost.macs(model, context.signature)}
    return {**measures, **sizes, **network_measures(model, context)}


def network_measures(model: nn.Module, context: TrainingContext, *, early: bool = False) -> dict[str, float]:
    """Return the context's measures of the network itself; with `early`, only those that are available before training."""
    own = [one for one in context.measures if one.of_network and (not early or one.available == "before_training")]
    if not own:
        return {}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    example = context.splits["validation"].take(slice(1)).to(device)
    model.eval()
    with torch.no_grad():
        return {one.name: float(one.of_network(model, example)) for one in own if one.of_network}


def validation_contributions(model: nn.Module, context: TrainingContext) -> inference.Contributions:
    """Return what each validation example contributed, `[n, k]`, to the task's and the user's measures and to agreement."""
    task, validation = context.built_task, context.splits["validation"]
    found: dict[str, np.ndarray] = {}
    for rows, batch, parts in inference.each(model, task, validation, torch.arange(len(validation))):
        own, teacher = sequences_from(parts), context.teacher_parts(rows, batch)
        values = {**inference.evaluated(task, own, batch, context.measures)}
        if teacher is not None:
            values |= inference.agreement(own, sequences_from(teacher))
        inference.gather(found, values, rows, len(validation))
    return found
