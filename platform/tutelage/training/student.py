"""From a trial's config to a network, its training and its sizes. No Ray, no search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import checkpoint, class_rows, inherit, stages
from tutelage.sparsity import Method, Point
from tutelage.sparsity._ladder import Ladder
from tutelage.spec.sections import LadderConfig, RecipeConfig, TrialConfig
from tutelage.training.context import TrainingContext
from tutelage.training.distillation import distillation_of
from tutelage.training.plan import Phase, TrainingPlan

FINE_TUNING_RATE = 0.1  # of the student's learning rate, so that fine-tuning does not undo distillation
INHERITING = {"teacher": inherit.cut, "teacher_svd": inherit.projected}


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
    """Return the student before its training.

    Its initial weights depend on `seed` and, if it starts from given weights or `initialise` inherits, on these or its teacher.
    """
    model = untrained(config, context, seed)
    if context.start is not None:
        given = class_rows.matched(
            checkpoint.weights_at(context.start), checkpoint.architecture_at(context.start),
            context.architecture(config.student.model),
        )  # fmt: skip
        model.load_state_dict(class_rows.filled(inherit.cut(given, _shapes(model)), model.state_dict()), strict=False)
    if config.student.initialise in INHERITING:
        model.load_state_dict(INHERITING[config.student.initialise](context.teacher_weights, _shapes(model)), strict=False)
    return model


def _shapes(model: nn.Module) -> dict[str, Sequence[int]]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def sparsity_of(config: TrialConfig) -> Callable[[], Method] | None:
    """Return what makes the config's sparsity method for a training; None where nothing is removed.

    The whole student of a ladder, as `of_rung` describes it, is trained by the ladder's method.
    """
    ladder, amount = config.sparsity.ladder, config.sparsity.amount
    if amount == 0.0 and (ladder is None or ladder.amounts is None):
        return None
    _, plugin, options = plugins.configure("sparsity", config.sparsity.method)
    build = partial(plugin.build, options, amount)
    return build if ladder is None else partial(_laddered, build, ladder)


def _laddered(build: Callable[[], Method], ladder: LadderConfig) -> Method:
    method = build()
    amounts = ladder.amounts_to(method.amount)
    if ladder.sandwich:
        return method.sandwich(amounts, ladder.recovery_epochs)
    return Ladder(method, amounts, ladder.recovery_epochs)


def recoveries(config: TrialConfig) -> tuple[int, ...]:
    """Return how many of the student's epochs follow each removal."""
    new_method = sparsity_of(config)
    return new_method().recoveries(config.student.epochs) if new_method else ()


def of_rung(config: TrialConfig, rung: int) -> TrialConfig:
    """Return the config of a training that climbs the ladder of `config` up to `rung` (0: the whole student).

    The highest rung of that training is what `rung` is in the whole one. Its `sparsity.amount` is the rung's. By the sandwich
    rule all rungs are trained together, so each has the config of the whole training.
    """
    sparsity, student = config.sparsity, config.student
    assert sparsity.ladder is not None
    if sparsity.ladder.sandwich:
        return config
    amounts = sparsity.ladder.amounts_to(sparsity.amount)
    spared = sparsity.ladder.recovery_epochs * (len(amounts) - rung)
    ladder = sparsity.ladder.model_copy(update={"rungs": max(1, rung), "amounts": list(amounts[:rung])})
    return config.model_copy(update={
        "student": student.model_copy(update={"epochs": student.epochs - spared}),
        "sparsity": sparsity.model_copy(update={"amount": amounts[rung - 1] if rung else 0.0, "ladder": ladder}),
    })  # fmt: skip


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
        deciding=context.splits["validation"] if context.has_guard else None,
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
