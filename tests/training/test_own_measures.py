"""A user's own measures are computed for every student beside the task's, those of its size before its training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tutelage.spec.loading import from_dict
from tutelage.training import student, student_measures, student_sizes
from tutelage.training.context import context_of

OWN = """
import torch
from tutelage.measure import Measure

def depth(model, batch):
    (inputs,) = batch.inputs.values()
    assert len(inputs) == 1 and not model.training
    return float(sum(1 for _ in model.parameters()))

def confidence(sequences, batch):
    return sequences["class"].logits.softmax(-1).amax(-1)

TENSORS = Measure(
    name="tensors", label="tensors", unit="tensors", direction="minimise", meaning="weight tensors of the network", low=0.0,
    available="before_training", of_network=depth,
)
CONFIDENCE = Measure(
    name="confidence", label="confidence", unit="share", direction="maximise", meaning="mean largest probability", low=0.0,
    high=1.0, spread="mean", of_outputs=confidence,
)
"""


def test_a_users_own_measures_can_be_an_objective_and_a_limit(user_module: Callable[[str, str], None], tmp_path: Path) -> None:
    user_module("own_measures", OWN)
    spec = from_dict({
        "name": "own", "storage": str(tmp_path), "data": "digits", "teacher": {"model": "mlp"}, "student": {"model": "mlp"},
        "search": {
            "objectives": ["accuracy", "own_measures:TENSORS"], "measures": ["own_measures:CONFIDENCE"],
            "constraints": {"min": {"confidence": 0.05}}, "stopping": {},
        },
    })  # fmt: skip
    assert [objective.name for objective in spec.search.objectives] == ["accuracy", "tensors"]
    assert from_dict(spec.resolved()) == spec, "it is written as it was named"
    context = context_of(spec)
    config = spec.trial_config(spec.space.resolve(lambda name, domain: None)[0])
    sizes = student_sizes.presize(config, context)
    measures = student_measures.final_measures(student.build(config, context, 0), context)
    assert sizes.final["tensors"] == measures["tensors"] > 0
    assert 0.1 <= measures["confidence"] <= 1 and next(iter(measures)) == "accuracy"
