"""The sizes of a student before it is trained, and a lower bound of its latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from tutelage import foreign, plugins
from tutelage.errors import InputError, TutelageError
from tutelage.networks import cost, inherit, stages
from tutelage.networks.blank import blank_arguments
from tutelage.records.trial import Sizes
from tutelage.spec.sections import TrialConfig
from tutelage.tasks import ChecksSteps
from tutelage.training import latency
from tutelage.training.context import TrainingContext
from tutelage.training.student import INHERITING, blank, sparsity_of, untrained
from tutelage.training.student_measures import network_measures

NOTHING_TO_INHERIT = (
    "student.initialise: no weight of the student has the name of a teacher's weight and at most its size. "
    "Choose both from one family, with a student that is no wider, or set student.initialise: random."
)


def can_inherit(model: nn.Module, teachers_weights: Mapping[str, Sequence[int]]) -> bool:
    """Return whether a matrix of the student has the name of a teacher's matrix and at most its size."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return bool(inherit.matched(shapes, teachers_weights, "name"))


def presize(config: TrialConfig, context: TrainingContext) -> Sizes:
    """Return the sizes and MACs of the student's first candidate before training; empty if training decides them.

    A student without sparsity is sized on the meta device, which needs no computation. With a sparsity method whose result
    does not depend on the weights, the method is applied to an untrained student. Raises `InputError` if the config describes
    no network that can be built and has steps for all labels, or if the student is to inherit weights and none of its teacher's
    fits.
    """
    if config.student.initialise in INHERITING and not can_inherit(blank(config, context), context.teacher_outline.weights):
        raise InputError(NOTHING_TO_INHERIT)
    network = blank(config, context)
    if isinstance(context.built_task, ChecksSteps):  # otherwise an outline is computed for nothing
        context.check_steps(stages.outline_of(network, context.signature))
    whole = _sizes(network, context)
    if config.sparsity.amount == 0.0:
        return Sizes(final=whole)
    smaller = _smaller(config, context)
    return Sizes(final=_sizes(smaller, context), initial=whole) if smaller is not None else Sizes()


def _sizes(model: nn.Module, context: TrainingContext) -> dict[str, float]:
    sizes = {**cost.size(model), **cost.macs(model, context.signature), **network_measures(model, context, early=True)}
    sizes.pop("nonzero_params", None)
    return sizes


def _smaller(config: TrialConfig, context: TrainingContext) -> nn.Module | None:
    """Return the untrained student after its sparsity method; None if training decides the result."""
    new_method = sparsity_of(config)
    model = untrained(config, context, seed=0)
    if new_method is None:
        return model
    try:
        return new_method().presized(model, blank_arguments(context.signature, 2))
    except TutelageError:
        raise
    except Exception as error:  # a user's sparsity method may raise any exception
        method = plugins.described(config.sparsity.method)
        raise InputError(f"sparsity method '{method}' fails on this network: {foreign.reason(error)}.") from error


def latency_floor_ms(config: TrialConfig, context: TrainingContext) -> float:
    """Return the shortest time of several passes of the untrained student over one example, on this machine's processor.

    It is a lower bound of the student's median latency on this machine or a slower one; 0 if training decides its size.
    """
    model = _smaller(config, context)
    return latency.fastest_ms(model, context, blank_arguments(context.signature, 1)) if model else 0.0
