"""The student's weights stay near its teacher's, cut to the student's shape (L2-SP; Li, Grandvalet and Davoine, 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Answer, Loss, Need, Outline
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {}
NEEDS: frozenset[Need] = frozenset({"weights"})


class Config(PluginConfig):
    """Weight alignment has no options."""


class WeightAlignment(nn.Module):
    """Σ ‖w_s - w_t‖² / Σ ‖w_t‖² over the matrices and kernels that both networks have by name.

    The teacher's weights come cut to the student's shape (`inherit.cut`). 0 for a student that was initialised from its
    teacher and has not moved; 1 for one whose weights are all 0.
    """

    def forward(self, student: Answer, teacher: Answer) -> Tensor:
        """Return the loss, a scalar."""
        pairs = [(student.weights[name], target) for name, target in teacher.weights.items() if target.ndim > 1]
        distances = [(own - target).square().sum() for own, target in pairs]
        sizes = [target.square().sum() for _, target in pairs]
        ratio: Tensor = sum(distances[1:], start=distances[0]) / sum(sizes[1:], start=sizes[0])
        return ratio


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` for a pair that has no matrix of one name and no larger shape in the student."""
    if not any(student.fits(name, shape) for name, shape in teacher.weights.items() if len(shape) > 1):
        raise InputError(
            "loss 'weights' compares weights of one name, and no matrix of the teacher is cut to one of the student. Give "
            "both the same family, the student no wider; or use another loss."
        )
    return WeightAlignment()
