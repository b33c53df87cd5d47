"""The teacher's softened output distribution as the target (Hinton, Vinyals and Dean, 2015)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Answer, Loss, Need, Outline
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
NEEDS: frozenset[Need] = frozenset()


class Config(PluginConfig):
    """Knowledge distillation has no options beside the distillation temperature."""


class SoftTargets(nn.Module):
    """T² · KL(softmax(teacher/T) ‖ softmax(student/T)) in nats, the mean over batch and steps.

    T² keeps the size of the gradient about the same at every temperature (Hinton et al., 2015, section 2). The loss is 0
    when both give the same distribution.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Answer, teacher: Answer) -> Tensor:
        """Return the loss, a scalar."""
        softened = functional.log_softmax(student.logits.flatten(0, 1) / self.temperature, dim=-1)
        target = functional.log_softmax(teacher.logits.flatten(0, 1) / self.temperature, dim=-1)
        divergence = functional.kl_div(softened, target, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; it serves every pair."""
    return SoftTargets(temperature)
