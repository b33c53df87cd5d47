"""Distillation of CTC outputs at the steps around the teacher's characters (Hilmes, Rossenbach and Schlüter, 2025)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Loss
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"around": {"int": [0, 3]}}
NEEDS: frozenset[Need] = frozenset({"logits"})


class Config(PluginConfig):
    """Which steps are compared."""

    around: int = Field(1, ge=0, le=64, description="blank steps on either side of a character that are compared; 0: none")
    blank: int = Field(0, ge=0, description="index of the blank class; task ocr has it first")


class AroundCharacters(nn.Module):
    """T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)) in nats, the mean over the selected steps of all examples.

    A CTC network gives the blank at nearly every step, so the mean over all steps is that of blanks. Selected are the steps at
    which the blank is not the teacher's largest logit, and as many steps before as after each of them (symmetric selection);
    with 0 this is blank elimination. A batch without such a step has loss 0. The label loss may then be left out: weight 1.
    """

    def __init__(self, temperature: float, around: int, blank: int) -> None:
        super().__init__()
        self.temperature, self.around, self.blank = temperature, around, blank

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        chosen = selected(teacher.logits, teacher.mask, self.around, self.blank)
        own, other = ((precise(output.logits[chosen]) / self.temperature).log_softmax(dim=-1) for output in (student, teacher))
        divergence = (other.exp() * (other - own)).sum() / max(1, len(own))
        return divergence * self.temperature**2


def selected(logits: Tensor, mask: Tensor | None, around: int, blank: int) -> Tensor:
    """Return booleans `[batch, steps]`, True at steps with a character as the best class, and `around` real ones beside it."""
    characters = logits.argmax(dim=-1) != blank
    real = characters if mask is None else characters & mask
    width = 2 * around + 1
    near = functional.max_pool1d(real.float().unsqueeze(1), width, stride=1, padding=around).squeeze(1) > 0
    return near if mask is None else near & mask


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. `losses.for_sequences` raises for networks of other steps than their teacher's."""
    return AroundCharacters(temperature, config.around, config.blank)
