"""The check, before anything is trained, that students can learn from the teacher by the searched losses."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torch import nn

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import checkpoint, stages
from tutelage.networks.output import Outline
from tutelage.spec.sections import RecipeConfig, TrialConfig
from tutelage.spec.spec import Spec
from tutelage.sweep.own_plugins import check_loss
from tutelage.sweep.start_checks import start_of
from tutelage.sweep.student_checks import buildable
from tutelage.tasks import DecodesLabels
from tutelage.training import distillation, half_size, student, student_sizes
from tutelage.training.context import TrainingContext, check_steps


def check_pairs(spec: Spec, context: TrainingContext, teacher: nn.Module) -> None:
    """Raise `InputError`, before anything is trained, if a loss cannot compare a student with the teacher.

    That is a student of other classes, labels of more steps than the teacher has, weights to inherit that no student could
    take, a layer that is not there, epochs that leave none for teaching, or a loss that cannot serve its pair.
    """
    train, signature = context.splits["train"], context.signature
    teachers_outline = stages.outline_of(stages.name_layers(teacher, spec.knowledge.layers), signature)
    context.check_steps(teachers_outline)
    context.check_examples(teacher)
    heirs: list[bool] = []
    own_losses: dict[str, TrialConfig] = {}
    start = start_of(context)
    misfits: list[str] = []
    for one in buildable(spec, context):
        config, blank, outline = one.config, one.network, one.outline
        if dict(outline.sequences) != signature.classes:
            named = plugins.parse_reference(config.student.model)[0]
            raise InputError(f"model '{named}' gives {_listed(outline.sequences)}, the data has {_listed(signature.classes)}.")
        half = check_half_size(config.student, blank, context)
        if start is not None:
            misfits.append(start.misfit(context.architecture(config.student.model), blank))
        if config.student.initialise in student.INHERITING:
            heirs.append(student_sizes.can_inherit(blank, teachers_outline.weights))
        if not train.num_labelled:
            _check_needs_no_label(config)
        if config.distillation.weight > 0:
            student.check_epochs(config)
            _check_decodes(config, context)
            distillation.distillation_loss(config, outline, teachers_outline)
            if half is not None:
                _check_half_size_loss(config, half, teachers_outline)
            own_losses.setdefault(json.dumps(config.distillation.method, sort_keys=True), config)
    if misfits and all(misfits):
        raise InputError(misfits[0])
    if heirs and not any(heirs):
        raise InputError(student_sizes.NOTHING_TO_INHERIT)
    for config in own_losses.values():
        if plugins.own_code(config.distillation.method):
            check_loss(config, context, teacher if spec.teacher.model is None else _seeded(spec, context))


def _check_needs_no_label(config: TrialConfig) -> None:
    apart, tuned = student.pretrain_epochs(config), config.student.fine_tune_epochs
    if config.distillation.weight == 0 or apart or tuned:
        raise InputError(
            f"no training example has a label, and a student would be trained label-only: distillation.weight "
            f"{config.distillation.weight:g}, {apart} epochs of pre-training, {tuned} of fine-tuning. Set a weight above 0, "
            "initialise: random or teacher, and fine_tune_epochs: 0."
        )


def _check_decodes(config: TrialConfig, context: TrainingContext) -> None:
    if "decoded" in distillation.needs(config) and not isinstance(context.built_task, DecodesLabels):
        raise InputError(
            "distillation.method: a loss compares the labels that the teacher decodes, and task "
            f"'{plugins.parse_reference(context.task)[0]}' decodes none: a text of CTC has no labels at its steps, and the "
            "text that a language model writes is another input than the data. Use a loss of its outputs, such as kd."
        )


def check_half_size(recipe: RecipeConfig, model: nn.Module, context: TrainingContext) -> Outline | None:
    """Return the outline of a network (on the meta device) for images of half the size; None if the recipe has none.

    Raises `InputError` if the network takes no such images, or the task's steps are not those of its outputs for them.
    """
    if recipe.half_size_share == 0.0:
        return None
    try:
        outline = stages.outline_of(model, half_size.halved_signature(context.signature))
        check_steps(context.built_task, outline, half_size.halved_example(context.splits["train"]))
        return outline
    except (InputError, RuntimeError, ValueError) as error:
        raise InputError(
            f"half_size_share {recipe.half_size_share:g}: the network takes no images of half the size ({error}). Set it to 0, "
            "or use a convolutional network that ends in a mean over the image."
        ) from None


def _check_half_size_loss(config: TrialConfig, half: Outline, teacher: Outline) -> None:
    """Raise `InputError` for a loss that needs the teacher's positions or steps, which images of half the size do not have."""
    share, compared = config.student.half_size_share, distillation.needs(config) & {"features", "maps", "heads", "qkv"}
    if compared:
        raise InputError(
            f"student.half_size_share {share:g}: the loss compares {', '.join(sorted(compared))} position by position, which "
            "images of half the size do not have. Set it to 0, or use a loss of the output."
        )
    try:
        distillation.distillation_loss(config, half, teacher)
    except InputError as error:
        raise InputError(f"student.half_size_share {share:g}: for images of half the size, {error} Or set it to 0.") from None


def _listed(sequences: Mapping[str, int]) -> str:
    return ", ".join(f"{count} classes of '{name}'" for name, count in sequences.items())


def _seeded(spec: Spec, context: TrainingContext) -> nn.Module:
    """Return the spec's teacher with initial weights, on this machine's processor."""
    assert spec.teacher.model is not None
    return checkpoint.seeded(context.architecture(spec.teacher.model), spec.seed)
