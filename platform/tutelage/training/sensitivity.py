"""What a sparsity method measures on networks that are cut for trial: their label loss and their latency."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tutelage.networks import runtime, timing
from tutelage.networks.blank import blank_arguments
from tutelage.networks.capture import sequences_from
from tutelage.training import inference
from tutelage.training.plan import TrainingPlan

EXAMPLES = 1024  # at most, drawn by the plan's seed


def label_loss(model: nn.Module, plan: TrainingPlan) -> float:
    """Return the mean label loss in nats of a network on labelled examples of `plan.deciding`, not augmented.

    Without such examples, as without a guard, they are training examples: validation decides between students, and a choice
    within a student needs none of it.
    """
    examples = plan.train if plan.deciding is None else plan.deciding
    labelled = examples.labelled.nonzero().flatten()
    order = torch.randperm(len(labelled), generator=torch.Generator().manual_seed(plan.seed))
    rows, total = labelled[order[:EXAMPLES]].sort().values, 0.0
    for _, batch, parts in inference.each(model, plan.task, examples, rows):
        total += float(plan.task.loss(sequences_from(parts), batch).double().sum())
    return total / max(1, len(rows))


def latency_ms(model: nn.Module, plan: TrainingPlan) -> float:
    """Return the median milliseconds of a network in ONNX Runtime, for one example on one thread of this machine."""
    ready = runtime.opened(runtime.onnx_bytes(copy.deepcopy(model).cpu().eval(), plan.signature))
    return timing.latencies_ms({"network": ready}, blank_arguments(plan.signature, 1))["network"]["latency_ms"]
