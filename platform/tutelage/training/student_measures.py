"""The measures of a trained student: quality, agreement with its teacher, sizes and costs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tutelage.measures.agreement import MEASURE as AGREEMENT
from tutelage.measures.teacher_kl_nats import MEASURE as TEACHER_KL
from tutelage.networks import cost
from tutelage.networks.capture import sequences_from
from tutelage.training import inference
from tutelage.training.context import TrainingContext


def final_measures(model: nn.Module, context: TrainingContext) -> dict[str, float]:
    """Return the task's and the user's measures of a student on validation, its agreement with its teacher, sizes and MACs."""
    measures = output_measures(model, context)
    sizes = {**cost.size(model), **cost.macs(model, context.signature)}
    return {**measures, **sizes, **network_measures(model, context)}


def output_measures(model: nn.Module, context: TrainingContext) -> dict[str, float]:
    """Return the measures of a student's outputs on validation: the task's, the user's, and agreement with its teacher."""
    found = validation_contributions(model, context)
    return inference.values_of(context.built_task, found, (AGREEMENT, TEACHER_KL, *context.measures))


def network_measures(model: nn.Module, context: TrainingContext, *, early: bool = False) -> dict[str, float]:
    """Return the context's measures of the network itself; with `early`, only those that are available before training."""
    own = [one for one in context.measures if one.of_network and (not early or one.available == "before_training")]
    if not own:
        return {}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    example = context.splits["validation"].take(slice(1)).to(device)
    model.eval()
    with torch.no_grad():
        return {one.name: float(one.of_network(model, example)) for one in own if one.of_network}


def validation_contributions(model: nn.Module, context: TrainingContext) -> inference.Contributions:
    """Return the contributions of each validation example, `[n, k]`, to the task's and user's measures and to agreement."""
    task, validation = context.built_task, context.splits["validation"]
    found: dict[str, np.ndarray] = {}
    for rows, batch, parts in inference.each(model, task, validation, torch.arange(len(validation))):
        own, teacher = sequences_from(parts), context.teacher_parts(rows, batch)
        values = {**inference.evaluated(task, own, batch, context.measures)}
        if teacher is not None:
            values |= inference.agreement(own, sequences_from(teacher))
        inference.gather(found, values, rows, len(validation))
    return found
