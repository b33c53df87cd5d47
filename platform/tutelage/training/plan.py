"""The plan of a training: its constant inputs, its phases and its distillation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from tutelage.data import Examples
from tutelage.losses import Loss
from tutelage.networks.output import Need
from tutelage.signature import Signature
from tutelage.sparsity import Method
from tutelage.spec.sections import AS_IT_IS, PLAIN, AugmentationConfig, ExecutionConfig, RecipeConfig
from tutelage.tasks import Task
from tutelage.training import inference


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The distillation of a training: the teacher's query, its loss, and the `weight` of this loss in [0, 1].

    `query(view, rows, batch)` returns the parts of the teacher's outputs (see `networks.capture`) for the examples `rows` of a
    view, whose `batch` is on the network's device. `build` returns the loss for a network; the loss compares `needs`.
    `weights` are the teacher's, and `head` is its frozen head.
    """

    query: inference.TeacherQuery
    build: Callable[[nn.Module], Loss]
    weight: float
    needs: frozenset[Need] = frozenset()
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    head: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs of a training, with distillation or label-only, at `rate` times the recipe's learning rate.

    Before a phase that `sparsifies`, channels are removed from the network.
    """

    epochs: int
    is_distilled: bool = True
    sparsifies: bool = False
    rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The constant inputs of a training; `shard` is (rank, workers) of a data-parallel training.

    Each epoch uses one view of every example. Views repeat after `views` epochs (0: never). Views depend on `view_seed`, and
    the order of the examples on `seed`. The epochs of `phases` sum to the recipe's; without phases, the training is one phase.
    `deciding` are the examples on which a sparsity method may choose what it removes; the training examples by default.
    """

    task: Task
    train: Examples
    validation: Examples
    signature: Signature
    recipe: RecipeConfig
    seed: int
    augmentation: AugmentationConfig = AS_IT_IS
    execution: ExecutionConfig = PLAIN
    views: int = 1
    view_seed: int = 0
    distillation: Distillation | None = None
    phases: tuple[Phase, ...] = ()
    sparsity: Callable[[], Method] | None = None
    shard: tuple[int, int] = (0, 1)
    deciding: Examples | None = None

    def phase_at(self, epochs_done: int) -> tuple[Phase, int]:
        """Return the phase of the next epoch (at the end, the last phase) and the number of its epochs that are done."""
        for phase in self.phases[:-1]:
            if epochs_done < phase.epochs:
                return phase, epochs_done
            epochs_done -= phase.epochs
        return (self.phases[-1] if self.phases else Phase(epochs=self.recipe.epochs)), epochs_done

    def distillation_in(self, phase: Phase) -> Distillation | None:
        """Return the distillation of a phase; None for a label-only one."""
        has_weight = self.distillation is not None and self.distillation.weight > 0.0
        return self.distillation if has_weight and phase.is_distilled else None
