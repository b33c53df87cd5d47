"""What a network says of examples: its label sequence, and its stages' features and attention maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage import augment
from tutelage.data import Split
from tutelage.losses import Answer, Need
from tutelage.spec_sections import AS_IT_IS, AugmentationConfig
from tutelage.tasks import Task
from tutelage.watching import features_of, map_of, watched


def answers_of(
    model: nn.Module, task: Task, split: Split, *, needs: frozenset[Need] = frozenset(), view: int | None = None,
    augmentation: AugmentationConfig = AS_IT_IS, view_seed: int = 0, batch_size: int = 512,
) -> dict[str, Tensor]:  # fmt: skip
    """Return what `model` in evaluation mode says of the examples, by part (see `knowledge`), each `[n, …]`.

    With a `view`, of that view of them under `augmentation`; without, of the examples as they are.
    """
    policy = AS_IT_IS if view is None else augmentation
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for rows in torch.arange(len(split)).split(batch_size):
            inputs = augment.batch(split, rows, view or 0, policy, view_seed).inputs.to(device)
            for part, tensor in answered(model, task, inputs, needs).items():
                found.setdefault(part, []).append(tensor.float().cpu())
    model.train(was_training)
    return {part: torch.cat(tensors) for part, tensors in found.items()}


def answered(model: nn.Module, task: Task, inputs: Tensor, needs: frozenset[Need]) -> dict[str, Tensor]:
    """Return logits and, of each stage, what is needed; under the names that knowledge has for them."""
    if not needs & {"features", "maps"}:
        return {"logits": task.predict(model, inputs)}
    with watched(model) as seen:
        parts = {"logits": task.predict(model, inputs)}
    for kind, taken in (("features", features_of), ("maps", map_of)):
        if kind in needs:
            parts |= {f"{kind}.{stage}": taken(output) for stage, output in seen.items()}
    return parts


def answer_from(parts: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Answer:
    """Return the parts of an answer, under knowledge's names, as a loss takes them."""
    by_kind: dict[str, dict[str, Tensor]] = {"features": {}, "maps": {}}
    for part, tensor in parts.items():
        kind, _, stage = part.partition(".")
        if stage:
            by_kind[kind][stage] = tensor
    return Answer(logits=parts["logits"], weights=weights, **by_kind)


def logits_of(model: nn.Module, task: Task, split: Split) -> Tensor:
    """Return the label sequences `[n, steps, classes]` of the examples with `model` in evaluation mode."""
    return answers_of(model, task, split)["logits"]


def accuracy_of(model: nn.Module, task: Task, split: Split) -> float:
    """Return the share of the split's steps that `model` gets right."""
    return float(task.correct(logits_of(model, task, split), split.labels).float().mean())


def agreement(student_logits: Tensor, teacher_logits: Tensor) -> dict[str, float]:
    """Return how far a student repeats its teacher on the same examples, both `[n, steps, classes]`.

    `agreement` is the share of steps with the same top class; `teacher_kl_nats` the mean KL(teacher ‖ student) at T = 1.
    """
    same = (student_logits.argmax(-1) == teacher_logits.argmax(-1)).float().mean()
    student = functional.log_softmax(student_logits.flatten(0, 1), dim=-1)
    teacher = functional.log_softmax(teacher_logits.float().flatten(0, 1), dim=-1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return {"agreement": float(same), "teacher_kl_nats": float(divergence)}
