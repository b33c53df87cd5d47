"""The student looks where its teacher looks: attention maps of all stages (Zagoruyko and Komodakis, 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.grids import regridded
from tutelage.losses import Answer, Loss, Need, Outline, Stage, paired, without_padding
from tutelage.plugins import PluginConfig
from tutelage.vectors import precise, unit

SPACE: dict[str, dict[str, object]] = {}
NEEDS: frozenset[Need] = frozenset({"maps"})


class Config(PluginConfig):
    """Attention transfer has no options; its maps are mean squares over the channels, the paper's p = 2."""


class AttentionTransfer(nn.Module):
    """Σ over pairs of stages of ‖m_s / ‖m_s‖ - m_t / ‖m_t‖‖², the mean over the batch, over the number of pairs.

    A pair costs 2 - 2 cos(m_s, m_t), whatever its resolution: between 0 (same map) and 2. Maps of unequal grids are compared
    on the student's, to which the teacher's is averaged or interpolated. Permuting or flipping the sign of channels, or
    scaling all of them, changes nothing. (The paper's sum over positions is this, its mean over positions is smaller by
    their number.)
    """

    def __init__(self, pairs: list[tuple[Stage, Stage]]) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, student: Answer, teacher: Answer) -> Tensor:
        """Return the loss, a scalar."""
        losses = list[Tensor]()
        for own, other in self.pairs:
            known = regridded(without_padding(teacher.maps[other.name], teacher), other.grid, own.grid)
            losses.append(_distance(*(without_padding(maps, teacher) for maps in (student.maps[own.name], known))))
        total: Tensor = sum(losses[1:], start=losses[0])
        return total / len(losses)


def _distance(own: Tensor, other: Tensor) -> Tensor:
    return (unit(precise(own)) - unit(precise(other))).square().sum(dim=1).mean()


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss; `InputError` for a network without stages, or whose stages have one position only."""
    pairs = [(own, other) for own, other in paired(student, teacher, "attention") if own.positions > 1 < other.positions]
    if not pairs:
        raise InputError("loss 'attention' needs stages of several positions; a perceptron looks everywhere at once. Use kd.")
    return AttentionTransfer(pairs)
