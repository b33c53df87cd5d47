"""How a plan estimates a training's seconds from a few timed steps."""

from __future__ import annotations

import time

import pytest
import torch

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config
from tutelage.placement import Node
from tutelage.spec import loading
from tutelage.spec.sections import TrialConfig
from tutelage.sweep import dry_run
from tutelage.training import cluster, loop, student
from tutelage.training.context import TrainingContext


def test_a_trainings_estimated_time_is_that_of_all_its_examples_and_epochs(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,078 examples 768 are timed, 12 steps of 64, after 2 steps, with the threads that a worker has."""
    config = TrialConfig.model_validate({**small_config(), "sparsity": {}})
    plan = student.plan(config, context, 0)
    clock, timed = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def epoch(training: loop.Training) -> dict[str, float]:
        clock[0] += len(training.plan.train) / 1000 if timed else 99
        timed.append((len(training.plan.train), torch.get_num_threads()))
        return {}

    monkeypatch.setattr(loop.Training, "epoch", epoch)
    before = torch.get_num_threads()
    found = dry_run._training_seconds(student.untrained(config, context, 0), plan, cpus=3.5)
    assert timed == [(128, 3), (768, 3)] and torch.get_num_threads() == before
    assert found == pytest.approx(config.student.epochs * len(context.splits["train"]) / 1000)


@pytest.mark.parametrize(
    ("search", "trial", "expected"),
    [({"concurrency": 100}, {}, 5), ({}, {"workers": 2, "cpus": 1}, 2), ({}, {"cpus": 3}, 1), ({"concurrency": 2}, {}, 2),
     ({"trials": 3}, {}, 3), ({}, {"cpus": 9}, 1)],
)  # fmt: skip
def test_trials_at_once_are_those_that_fit_whole(search: dict[str, int], trial: dict[str, int], expected: int) -> None:
    spec = loading.from_dict({**SMALL_SPEC, "search": {"trials": 50, **search}, "resources": {"trial": trial}})
    assert cluster.trials_at_once(spec, [Node(cpus=5, gpus=0)]) == expected
