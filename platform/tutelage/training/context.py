"""What all students of a sweep share: data, task, and what their teacher knows of them. No Ray, no search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import plugins
from tutelage.data import Split, SplitName, checked
from tutelage.data import fingerprint as fingerprint_of
from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint, ensemble, stages, top_k
from tutelage.networks.output import Outline
from tutelage.plugins import Reference
from tutelage.spec.loading import Spec
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig
from tutelage.tasks import Task
from tutelage.training import augment, inference, knowledge_cache
from tutelage.training.knowledge_plan import KnowledgePlan


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What all students of a sweep share: data, task, and their teacher's knowledge. Cheap to send; loads on first use.

    Without `knowledge` students learn from labels alone.
    """

    data: Reference
    task: Reference
    seed: int
    augmentation: AugmentationConfig = AS_IT_IS
    knowledge: KnowledgePlan | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Send what names the data and the knowledge, not what was read of them: memory maps would be sent as bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def read(self, split: SplitName) -> Split:
        """Return one split of the data."""
        _, plugin, config = plugins.configure("data", self.data)
        return checked(plugin.read(config, self.seed, split), split)

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
    def teacher(self) -> nn.Module:
        """The teachers as one network, its compared layers named; read once a process."""
        assert self.knowledge is not None, "a context without a teacher is not asked for it"
        directories, shares = zip(*self.knowledge.teachers, strict=True)
        return stages.name_layers(ensemble.read(directories, shares), self.knowledge.layers)

    @cached_property
    def teacher_outline(self) -> Outline:
        """The teacher's outline, from its cache entry where there is one."""
        entry = self.knowledge.entry if self.knowledge else None
        kept = entry.outline() if entry else None
        return kept or stages.outline_of(self.teacher, self.splits["train"].example_shape)

    @cached_property
    def teacher_weights(self) -> dict[str, Tensor]:
        """The first teacher's parameters and buffers by name, in order of depth."""
        if self.knowledge is None:
            raise WorkFailed("the teacher's weights are asked for, and there is no teacher yet.")
        return checkpoint.weights_of(checkpoint.inmost(self.teacher))

    @cached_property
    def cached_knowledge(self) -> knowledge_cache.Knowledge | None:
        """The teacher's cached knowledge; None where there is none, or the teacher answers live."""
        entry = self.knowledge.entry if self.knowledge else None
        if self.knowledge is None or entry is None:
            return None
        if entry.outline() is None:
            raise WorkFailed(
                f"{entry.directory}: the teacher's knowledge is not there on this machine. "
                "On several nodes, `storage` must be a directory that all of them share."
            )
        return knowledge_cache.Knowledge(
            entry=entry, outline=self.teacher_outline, fill=self.fill, local_dir=self.knowledge.local_dir
        )

    @cached_property
    def validation_logits(self) -> Tensor | None:
        """The teacher's label sequences of the validation examples; None without a teacher."""
        if self.knowledge is None:
            return None
        if self.cached_knowledge is not None:
            return self.cached_knowledge.view("validation", 0)["logits"].float()
        return inference.logits_of(self.teacher, self.built_task, self.splits["validation"])

    def layouts(self, split: SplitName, teacher: nn.Module | None = None) -> knowledge_cache.Layouts:
        """Return how each part of a view of the teacher's answers is stored, learnt from its answers to two examples.

        `teacher` is asked in the place of the context's, which may be still to be trained.
        """
        assert self.knowledge is not None
        kinds = {"classes": top_k.index_dtype(self.splits["train"].num_classes)}
        sample = self._compressed(split, next(self._asked(split, 0, torch.arange(2), teacher)))
        return {
            part: knowledge_cache.Layout(shape=tuple(tensor.shape[1:]), dtype=kinds.get(part, self.knowledge.dtype))
            for part, tensor in sample.items()
        }

    def answer_into(self, draft: Path, split: SplitName, view: int, rows: Tensor) -> None:
        """Ask the teacher for a view of the examples `rows`, which follow each other, and write that into the view's draft."""
        first = int(rows[0])
        for parts in self._asked(split, view, rows):
            kept = self._compressed(split, parts)
            knowledge_cache.fill(draft, kept, first)
            first += len(next(iter(kept.values())))

    def fill(self, split: SplitName, view: int) -> None:
        """Put a view into the cache unless another process does or did; on this process's GPU, if it has one."""
        assert self.knowledge is not None and self.knowledge.entry is not None
        entry, examples = self.knowledge.entry, self.splits[split]
        with entry.lock(f"{split}-{view}"):
            if not entry.has(split, view):
                self.teacher.to("cuda" if torch.cuda.is_available() else "cpu")
                with entry.draft(split, view, len(examples), self.layouts(split)) as draft:
                    self.answer_into(draft, split, view, torch.arange(len(examples)))

    def _asked(
        self, split: SplitName, view: int, rows: Tensor, teacher: nn.Module | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Give what is cached of the teacher's answers: of training its views with all that is compared, else the logits."""
        assert self.knowledge is not None
        ask = partial(inference.each, teacher or self.teacher, self.built_task, self.splits[split], rows)
        if split != "train":
            return ask()
        return ask(needs=self.knowledge.needs, view=view, augmentation=self.augmentation, view_seed=self.seed)

    def _compressed(self, split: SplitName, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self.knowledge is not None
        if split != "train" or not self.knowledge.top_k:
            return parts
        others = {part: tensor for part, tensor in parts.items() if part != "logits"}
        return {**top_k.compressed(parts["logits"], self.knowledge.top_k), **others}

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


def located(data_reference: Reference) -> Reference:
    """Return a data reference whose `path` is absolute: Ray's workers read it from other working directories."""
    name, options = plugins.parse_reference(data_reference)
    path = options.get("path")
    return {name: {**options, "path": str(Path(path).expanduser().absolute())}} if isinstance(path, str) else data_reference


def context_of(spec: Spec) -> TrainingContext:
    """Return the context without knowledge: enough to read data and build networks."""
    context = TrainingContext(data=located(spec.data), task=spec.task, seed=spec.seed, augmentation=spec.augmentation)
    augment.check(spec.augmentation, context.splits["train"].example_shape)
    return context
