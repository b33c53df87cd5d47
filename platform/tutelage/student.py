"""From a trial's config to a network, its training and its sizes. No Ray, no search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import answers, inherit, knowledge, measure, network, plugins, training, watching
from tutelage.data import Split, SplitName
from tutelage.data import fingerprint as fingerprint_of
from tutelage.errors import InputError, WorkFailed
from tutelage.losses import Loss, Need, Outline, needs_of
from tutelage.plugins import Reference
from tutelage.spec_sections import AS_IT_IS, AugmentationConfig, RecipeConfig, TrialConfig
from tutelage.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Classroom:
    """What all students of a sweep share: data, task, and their teacher's knowledge. Cheap to send; loads on first use.

    `knowledge_root` and `knowledge_address` name the cache entry; without an address students learn from labels alone.
    """

    data: Reference
    task: Reference
    seed: int
    augmentation: AugmentationConfig = AS_IT_IS
    knowledge_root: Path | None = None
    knowledge_address: str | None = None
    teacher_dir: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Send what names the data and the knowledge, not what was read of them: memory maps would be sent as bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def read(self, split: SplitName) -> Split:
        """Return one split of the data."""
        _, plugin, config = plugins.configure("data", self.data)
        split_read: Split = plugin.read(config, self.seed, split)
        return split_read

    @cached_property
    def splits(self) -> dict[SplitName, Split]:
        """The two splits that a search may see, read once a process."""
        return {"train": self.read("train"), "validation": self.read("validation")}

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of what a search may see, train and validation; computed once a process, over every byte."""
        return fingerprint_of(self.splits["train"], self.splits["validation"])

    @cached_property
    def built_task(self) -> Task:
        """The task, built once a process."""
        _, plugin, config = plugins.configure("tasks", self.task)
        task: Task = plugin.build(config)
        return task

    @cached_property
    def known(self) -> knowledge.Knowledge | None:
        """The teacher's knowledge, memory-mapped and verified once a process."""
        if self.knowledge_address is None:
            return None
        assert self.knowledge_root is not None
        found = knowledge.read(self.knowledge_root, self.knowledge_address)
        if found is None:
            raise WorkFailed(
                f"{self.knowledge_root / self.knowledge_address}: the teacher's knowledge is not there on this machine. "
                "On several nodes, `storage` must be a directory that all of them share."
            )
        return found

    @cached_property
    def teacher_weights(self) -> dict[str, Tensor]:
        """The teacher's weights by name, read once a process."""
        if self.teacher_dir is None:
            raise WorkFailed("the teacher's weights are asked for, and there is no teacher yet.")
        return network.read_weights(self.teacher_dir)

    def architecture(self, model: Reference) -> dict[str, Any]:
        """Return what `network.write` keeps beside the weights of a `model` for this data."""
        train = self.splits["train"]
        return {
            "version": 1,
            "model": model if isinstance(model, str) else dict(model),
            "task": self.task if isinstance(self.task, str) else dict(self.task),
            "example_shape": list(train.example_shape),
            "class_names": list(train.class_names),
            "mean": list(train.mean),
            "std": list(train.std),
        }


def untaught(config: TrialConfig, classroom: Classroom, seed: int) -> nn.Module:
    """Return the untrained student with random first weights, whatever `initialise` says: enough to size and time it."""
    return network.seeded(classroom.architecture(config.student.model), seed)


def build(config: TrialConfig, classroom: Classroom, seed: int) -> nn.Module:
    """Return the untrained student; its first weights depend on `seed` and, where the config says so, on its teacher."""
    model = untaught(config, classroom, seed)
    if config.student.initialise == "teacher":
        inherited = inherit.cut(classroom.teacher_weights, {name: t.shape for name, t in model.state_dict().items()})
        if not inherited:
            raise InputError(
                "student.initialise: no weight of the teacher has the name and at least the size of one of the student's. "
                "Give both the same family, the student no wider; or initialise: random."
            )
        model.load_state_dict(inherited, strict=False)
    return model


def sparsifier(config: TrialConfig) -> Any:
    """Return the function (model, example) → smaller model that the config asks for, or None."""
    if config.sparsity.structured == 0.0:
        return None
    _, plugin, options = plugins.configure("sparsity", config.sparsity.method)
    return partial(plugin.apply, options, share=config.sparsity.structured)


def fine_tune_epochs(config: TrialConfig) -> int:
    """Return how many of the student's epochs come after it is made smaller; at least one is kept before and after."""
    epochs = config.student.epochs
    if config.sparsity.structured == 0.0 or epochs < 2:
        return 0
    _, _, options = plugins.configure("sparsity", config.sparsity.method)
    wanted: int = round(options.fine_tune_share * epochs)
    return min(max(1, wanted), epochs - 1)


def needs(config: TrialConfig) -> frozenset[Need]:
    """Return what the config's distillation loss compares beside the logits."""
    _, plugin, options = plugins.configure("losses", config.distillation.method)
    return needs_of(plugin, options)


def distillation_loss(config: TrialConfig, student_outline: Outline, teacher: Outline) -> Loss:
    """Return the config's distillation loss between two networks; `InputError` where it cannot serve them."""
    _, plugin, options = plugins.configure("losses", config.distillation.method)
    loss: Loss = plugin.build(options, config.distillation.temperature, student_outline, teacher)
    return loss


def teaching(config: TrialConfig, classroom: Classroom) -> training.Teaching | None:
    """Return what the student learns from its teacher; None with a weight of 0 or no teacher."""
    if config.distillation.weight == 0.0 or classroom.known is None:
        return None
    known, shape, needed = classroom.known, classroom.splits["train"].example_shape, needs(config)
    parts = {part: t for part, t in known.parts["train"].items() if part == "logits" or part.partition(".")[0] in needed}

    def loss_for(model: nn.Module) -> Loss:
        return distillation_loss(config, watching.outline_of(model, shape), known.outline)

    def weights_for(model: nn.Module) -> Mapping[str, Tensor]:
        return inherit.cut(classroom.teacher_weights, {name: weight.shape for name, weight in model.named_parameters()})

    return training.Teaching(
        known=parts, build=loss_for, weight=config.distillation.weight, needs=needed, weights=weights_for,
        pretrain_epochs=config.student.pretrain_epochs,
    )  # fmt: skip


def lesson(config: TrialConfig, classroom: Classroom, seed: int) -> training.Lesson:
    """Return the student's whole lesson."""
    return training.Lesson(
        task=classroom.built_task,
        train=classroom.splits["train"],
        validation=classroom.splits["validation"],
        recipe=config.student,
        execution=config.student.execution,
        seed=seed,
        augmentation=classroom.augmentation,
        views=classroom.known.num_views if classroom.known else 0,
        view_seed=classroom.seed,
        fine_tune_epochs=fine_tune_epochs(config),
        teaching=teaching(config, classroom),
        sparsify=sparsifier(config),
    )


def lesson_alone(recipe: RecipeConfig, classroom: Classroom) -> training.Lesson:
    """Return what a teacher learns: labels alone, of a new view every epoch."""
    return training.Lesson(
        task=classroom.built_task,
        train=classroom.splits["train"],
        validation=classroom.splits["validation"],
        recipe=recipe,
        seed=classroom.seed,
        augmentation=classroom.augmentation,
        views=0,
        view_seed=classroom.seed,
    )


def presize(config: TrialConfig, classroom: Classroom) -> dict[str, float]:
    """Return the sizes and MACs that the student will have, before it is trained; empty if training decides them.

    A student that stays whole is sized on the meta device, at no cost. One that loses the same share of every layer is
    cut untrained. Where the trained weights decide what goes, only a trained student has a size.
    """
    example_shape = classroom.splits["train"].example_shape
    sparsify = sparsifier(config)
    if sparsify is None:
        with torch.device("meta"):
            model = network.build(classroom.architecture(config.student.model))
    else:
        _, _, options = plugins.configure("sparsity", config.sparsity.method)
        if not getattr(options, "uniform", False):
            return {}
        model = sparsify(untaught(config, classroom, seed=0), torch.zeros(2, *example_shape))
    sizes = measure.size(model)
    sizes.pop("nonzero_params", None)
    return {**sizes, **measure.macs(model, example_shape)}


def final_measures(model: nn.Module, classroom: Classroom) -> dict[str, float]:
    """Return accuracy on validation, agreement with the teacher, sizes and MACs of a trained student."""
    task, validation = classroom.built_task, classroom.splits["validation"]
    logits: Tensor = answers.logits_of(model, task, validation)
    measures = {task.primary: float(task.correct(logits, validation.labels).float().mean())}
    if classroom.known is not None:
        measures |= answers.agreement(logits, classroom.known.parts["validation"]["logits"][0])
    return {**measures, **measure.size(model), **measure.macs(model, validation.example_shape)}
