"""The training context that all students of a sweep share: data, task and the teacher's knowledge. No Ray, no search."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import plugins
from tutelage.data import SplitName, checked
from tutelage.data import fingerprint as fingerprint_of
from tutelage.data._alike import check_alike
from tutelage.data._examples import Batch, Examples
from tutelage.data._halves import halves
from tutelage.data._objects import check_some
from tutelage.errors import InputError, WorkFailed
from tutelage.measure import Measure
from tutelage.networks import checkpoint, ensemble, forward, sampled, stages, top_k
from tutelage.networks.capture import masks_for
from tutelage.networks.output import Outline
from tutelage.networks.weights import weights_of
from tutelage.plugins import Reference
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.spec.paths import located_data, located_model, located_start
from tutelage.spec.search_sections import MEASURED_HERE, LatencyConfig
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig
from tutelage.spec.spec import Spec
from tutelage.tasks import ChecksSteps, Task, signature
from tutelage.training import augment, inference, knowledge_cache, own_data
from tutelage.training.knowledge_layout import Layout, Layouts, inferred
from tutelage.training.knowledge_plan import KnowledgePlan


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """Data, task and teacher's knowledge, which all students of a sweep share. It is small to pickle and loads on first use.

    Without `knowledge`, students are trained label-only. `measures` are computed in addition to the task's; they have
    `of_outputs` or `of_network`. With the `inputs` of a network that exists, examples are normalised by its mean and deviation,
    and rows of a table have its columns. With `has_guard`, validation is its decision half everywhere, and `certification` the
    other half. `latency` defines where and how latency is measured. `start` has the weights that every student starts from.
    Paths in a model's options are relative to `directory`.
    """

    data: Reference
    task: Reference
    seed: int
    augmentation: AugmentationConfig = AS_IT_IS
    knowledge: KnowledgePlan | None = None
    measures: tuple[Measure, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    has_guard: bool = False
    latency: LatencyConfig = MEASURED_HERE
    start: Path | None = None
    directory: Path = Path()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only the fields, not loaded data and knowledge, because memory maps would be sent as bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def read(self, split: SplitName) -> Examples:
        """Return one split of the data; of validation with a guard the decision half."""
        examples = self._read_whole(split)
        if split != "train":
            check_alike(self._train, examples, split)
            examples = examples.subset(halves(examples, self.seed)[0]) if split == "validation" and self.has_guard else examples
            check_some(examples, split)
        return examples

    def _read_whole(self, split: SplitName) -> Examples:
        name, plugin, config = plugins.configure("data", self.data)

        def read() -> Examples:
            if self.inputs and hasattr(plugin, "read_as"):
                return plugin.read_as(config, self.seed, split, self.inputs)  # type: ignore[no-any-return]
            return plugin.read(config, self.seed, split)  # type: ignore[no-any-return]

        examples = own_data.read(name, split, read) if ":" in name else read()
        return checked(examples.normalised_as(self.inputs), split)

    @cached_property
    def _train(self) -> Examples:
        return self.read("train")

    @cached_property
    def splits(self) -> dict[SplitName, Examples]:
        """The two splits that a search uses, read once a process."""
        return {"train": self._train, "validation": self.read("validation")}

    @cached_property
    def certification(self) -> Examples:
        """The half of validation that nothing in a search reads: it certifies what was selected, once."""
        assert self.has_guard, "without a guard there is no such half"
        examples = self._read_whole("validation")
        return examples.subset(halves(examples, self.seed)[1])

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint over all bytes of the training and validation splits, computed once a process.

        With a guard, the halves are two splits: their results are not comparable with those on all of validation.
        """
        splits = [self.splits["train"], self.splits["validation"]]
        return fingerprint_of(*splits, *([self.certification] if self.has_guard else []))

    @cached_property
    def built_task(self) -> Task:
        """The task, built once a process."""
        _, plugin, config = plugins.configure("tasks", self.task)
        task: Task = plugin.build(config)
        return task

    @cached_property
    def teacher(self) -> nn.Module:
        """The teachers as one network with its compared layers set, read once a process."""
        assert self.knowledge is not None, "this context has no teacher"
        shares = [share for _, share in self.knowledge.teachers]
        return stages.name_layers(ensemble.read(self.knowledge.teacher_paths(), shares), self.knowledge.layers)

    @cached_property
    def teacher_outline(self) -> Outline:
        """The teacher's outline, read from its cache entry if that exists."""
        entry = self.knowledge.entry if self.knowledge else None
        cached = entry.outline() if entry else None
        return cached or stages.outline_of(self.teacher, self.signature)

    @cached_property
    def teacher_weights(self) -> dict[str, Tensor]:
        """The first teacher's parameters and buffers by name, in order of depth, with rows of the data's classes alone."""
        if self.knowledge is None:
            raise WorkFailed("the student needs the teacher's weights, and there is no teacher yet.")
        return checkpoint.rows_of_classes(self.teacher, weights_of(checkpoint.innermost(self.teacher)))

    @cached_property
    def teacher_head(self) -> nn.Module:
        """A frozen copy of the first teacher's head, which takes the features of its `head_stages`."""
        head = copy.deepcopy(checkpoint.innermost(self.teacher).get_submodule("head"))
        return head.eval().requires_grad_(False)

    @cached_property
    def cached_knowledge(self) -> knowledge_cache.Knowledge | None:
        """The teacher's cached knowledge; None without a teacher, and for live teachers."""
        entry = self.knowledge.entry if self.knowledge else None
        if self.knowledge is None or entry is None:
            return None
        if entry.outline() is None:
            raise WorkFailed(
                f"{entry.storage.uri}: the teacher's knowledge does not exist on this machine. "
                "On several nodes, `storage` must be a directory that all of them share."
            )
        return knowledge_cache.Knowledge(
            entry=entry, outline=self.teacher_outline, fill=self.fill, local_dir=self.knowledge.local_dir
        )

    def teacher_parts(self, rows: Tensor, batch: Batch) -> Mapping[str, Tensor] | None:
        """Return the teacher's logits and masks, on the CPU, for the validation examples `rows`, whose batch is `batch`.

        None without a teacher.
        """
        if self.knowledge is None:
            return None
        if self.cached_knowledge is None:
            teacher = self.teacher  # if it were read below, no student could have a gradient through its weights
            with torch.inference_mode():
                return inference.on_cpu(teacher, self.built_task, batch)
        stored = self.cached_knowledge.view("validation", 0)
        parts = {part: values[rows].float() for part, values in stored.items()}
        return parts | masks_for(parts, batch, self.signature)

    def layouts(self, split: SplitName, teacher: nn.Module | None = None) -> Layouts:
        """Return the stored layout of each part of the teacher's outputs, inferred from its outputs for at most two examples.

        If examples differ in length, these are a shortest and a longest one. `teacher` replaces the context's teacher, which
        may not be trained yet.
        """
        assert self.knowledge is not None
        lengths = self.splits[split].lengths
        if lengths is None or int(lengths.min()) == int(lengths.max()):
            some = torch.arange(min(2, len(self.splits[split])))
            sample = next(iter(self._outputs(split, 0, some, teacher)))[1]
            return {part: Layout(shape=tuple(t.shape[1:]), dtype=self._dtype(part)) for part, t in sample.items()}
        rows = torch.stack([lengths.argmin(), lengths.argmax()])
        steps = [max(1, int(lengths[row])) for row in rows]  # an empty example is padded to a step
        found = [next(iter(self._outputs(split, 0, row.unsqueeze(0), teacher)))[1] for row in rows]
        pairs = {part: {count: one[part] for count, one in zip(steps, found, strict=True)} for part in found[0]}
        return {part: inferred(part, samples, self._dtype(part)) for part, samples in pairs.items()}

    def _dtype(self, part: str) -> str:
        assert self.knowledge is not None
        kind, _, name = part.partition(".")
        return (
            top_k.index_dtype(self.signature.classes[name]) if kind in ("classes", "drawn", "decoded") else self.knowledge.dtype
        )

    def write_view(self, draft: Path, split: SplitName, view: int, rows: Tensor, layouts: Layouts) -> None:
        """Write the teacher's outputs for a view of the consecutive examples `rows` into the view's draft."""
        lengths = self.splits[split].lengths
        for some, parts in self._outputs(split, view, rows):
            for part, tensor in parts.items():
                layout = layouts[part]
                first = int(some[0]) if lengths is None else int(layout.row_offsets(lengths)[some[0]])
                stored = layout.packed(tensor, None if lengths is None else lengths[some])
                knowledge_cache.fill(draft, {part: stored}, first)

    def fill(self, split: SplitName, view: int) -> None:
        """Write a view into the cache unless another process does or did; this uses the process's GPU if there is one."""
        assert self.knowledge is not None and self.knowledge.entry is not None
        entry, examples = self.knowledge.entry, self.splits[split]
        with entry.view_lock(split, view):
            if not entry.has(split, view):
                self.teacher.to("cuda" if torch.cuda.is_available() else "cpu")
                layouts = self.layouts(split)
                with entry.draft(split, view, len(examples), layouts, examples.lengths) as draft:
                    self.write_view(draft, split, view, torch.arange(len(examples)), layouts)

    def _outputs(
        self, split: SplitName, view: int, rows: Tensor, teacher: nn.Module | None = None
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield (rows, parts) to be cached: all compared parts of a training view; for validation only the logits."""
        assert self.knowledge is not None
        each = partial(
            inference.each, teacher or self.teacher, self.built_task, self.splits[split], rows, sorts=False
        )  # fmt: skip
        found = each()
        if split == "train":
            steps = self.teacher_outline.stages_of_steps if teacher is None else ()  # layouts do not depend on masks
            found = each(
                needs=self.knowledge.needs,
                stages_of_steps=steps,
                view=view,
                augmentation=self.augmentation,
                view_seed=self.seed,
            )
        for some, _, parts in found:
            stored = {part: tensor for part, tensor in parts.items() if not part.startswith("mask.")}
            is_sparse = split == "train" and bool(self.knowledge.top_k or self.knowledge.samples)
            yield some, self._compressed(stored, (self.seed, view, int(some[0]))) if is_sparse else stored

    def _compressed(self, parts: dict[str, Tensor], seed: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the parts with label sequences in sparse form: drawn classes, or the largest of more than `top_k` classes."""
        assert self.knowledge is not None
        found: dict[str, Tensor] = {}
        for part, tensor in parts.items():
            kind, _, name = part.partition(".")
            if kind == "logits" and self.knowledge.samples:
                found[f"drawn.{name}"] = sampled.drawn(tensor, self.knowledge.samples, seed)
                continue
            if kind != "logits" or tensor.shape[-1] <= self.knowledge.top_k:
                found[part] = tensor
                continue
            sparse = top_k.compressed(tensor, self.knowledge.top_k, self.knowledge.temperature)
            found |= {f"{piece}.{name}": values for piece, values in sparse.items()}
        return found

    @cached_property
    def signature(self) -> Signature:
        """The signature of a network for this data and task."""
        name, train = plugins.parse_reference(self.task)[0], self.splits["train"]
        if ":" not in name:
            return signature(self.built_task, train)
        with forward.of_user(f"task '{name}': outputs"):
            found = self.built_task.outputs(train)
        if not isinstance(found, tuple | list) or not found or not all(isinstance(one, OutputSpec) for one in found):
            raise InputError(f"task '{name}': outputs gives {found!r:.80}; it must give a tuple of OutputSpec.")
        return Signature(inputs=train.input_specs, outputs=tuple(found))

    def check_steps(self, outline: Outline) -> None:
        """Raise `InputError` for a network of fewer steps than the labels of the training examples need."""
        check_steps(self.built_task, outline, self.splits["train"])

    def check_examples(self, network: nn.Module) -> None:
        """Raise `InputError` for examples that a network cannot take, if it has a method that checks them."""
        if callable(check := getattr(network, "check_examples", None)):
            for name, examples in self.splits.items():
                check(name, examples)

    def architecture(self, model: Reference) -> dict[str, Any]:
        """Return the architecture of a `model` for this data, which `checkpoint.write` stores with the weights."""
        return {
            "version": 2,
            "model": located_model(model, [self.directory]) if isinstance(model, dict) else model,
            "task": self.task if isinstance(self.task, str) else dict(self.task),
            "signature": self.signature.document(),
        }


def context_of(spec: Spec, inputs: tuple[InputSpec, ...] = ()) -> TrainingContext:
    """Return the context of a spec without knowledge, which suffices to read data and to build networks.

    Its paths are absolute, because Ray's workers have other working directories. With `inputs`, the data are read as the
    network that has them takes them.
    """
    own = tuple(one for one in spec.measures.values() if one.of_outputs is not None or one.of_network is not None)
    context = TrainingContext(
        data=located_data(spec.data, [Path.cwd()]),
        task=spec.task,
        seed=spec.seed,
        augmentation=spec.augmentation,
        measures=own,
        inputs=inputs,
        has_guard=spec.guard is not None,
        latency=spec.resources.latency,
        start=located_start(spec),
        directory=Path.cwd(),
    )
    train = context.splits["train"]
    has_boxes = any(one.kind == "boxes" for one in train.targets.values())
    augment.check(spec.augmentation, train.input_specs, has_boxes=has_boxes)
    return context


def check_steps(task: Task, outline: Outline, examples: Examples) -> None:
    """Raise `InputError` for a network of fewer steps than the labels of `examples` need, or of other steps than the task's."""
    if isinstance(task, ChecksSteps):
        task.check_steps(outline.steps, examples)
