"""The teacher's softened output distribution as the target (Hinton, Vinyals and Dean, 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tutelage.losses import Loss
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Knowledge distillation has no options beside the distillation temperature."""


def build(config: Config, temperature: float) -> Loss:
    """Return T² · KL(softmax(teacher/T) ‖ softmax(student/T)) in nats, the mean over batch and steps.

    Both arguments are logits `[batch, steps, classes]`. T² keeps the size of the gradient about the same at every
    temperature (Hinton et al., 2015, section 2). The loss is 0 when both give the same distribution.
    """

    def loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        student = functional.log_softmax(student_logits.flatten(0, 1) / temperature, dim=-1)
        teacher = functional.log_softmax(teacher_logits.flatten(0, 1) / temperature, dim=-1)
        divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence * temperature**2

    return loss
