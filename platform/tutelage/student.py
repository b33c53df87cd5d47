"""From a trial's config to a network, its training and its sizes. No Ray, no search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import knowledge, measure, network, plugins, training
from tutelage.data import Split, SplitName
from tutelage.errors import WorkFailed
from tutelage.plugins import Reference
from tutelage.spec_sections import AS_IT_IS, AugmentationConfig, TrialConfig
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


def build(config: TrialConfig, classroom: Classroom, seed: int) -> nn.Module:
    """Return the untrained student; its first weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network.build(classroom.architecture(config.student.model))


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


def teaching(config: TrialConfig, classroom: Classroom) -> training.Teaching | None:
    """Return what the student learns from its teacher; None with a weight of 0 or no teacher."""
    if config.distillation.weight == 0.0 or classroom.known is None:
        return None
    _, plugin, options = plugins.configure("losses", config.distillation.method)
    return training.Teaching(
        logits=classroom.known.logits["train"],
        loss=plugin.build(options, config.distillation.temperature),
        weight=config.distillation.weight,
    )


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
        model = sparsify(build(config, classroom, seed=0), torch.zeros(2, *example_shape))
    sizes = measure.size(model)
    sizes.pop("nonzero_params", None)
    return {**sizes, **measure.macs(model, example_shape)}


def final_measures(model: nn.Module, classroom: Classroom) -> dict[str, float]:
    """Return accuracy on validation, agreement with the teacher, sizes and MACs of a trained student."""
    task, validation = classroom.built_task, classroom.splits["validation"]
    logits: Tensor = training.logits_of(model, task, validation)
    measures = {task.primary: float(task.correct(logits, validation.labels).float().mean())}
    if classroom.known is not None:
        measures |= training.agreement(logits, classroom.known.logits["validation"][0])
    return {**measures, **measure.size(model), **measure.macs(model, validation.example_shape)}
