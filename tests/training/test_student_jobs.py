"""Trials in a process that they share: what one student's code changes does not reach the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.contexts import small_config
from tutelage.training import student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import HERE

CHANGING = """
import torch
from torch import nn

class Changing(nn.Linear):
    def __init__(self) -> None:
        super().__init__(64, 10)
        torch.set_num_threads(torch.get_num_threads() + 1)

    def forward(self, inputs):
        if self.training:
            torch.set_default_dtype(torch.float64)
            torch._C._set_grad_enabled(False)
        return super().forward(inputs.flatten(1))
"""


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(student_jobs, "fit", lambda function, workers: function())


def test_a_student_that_changes_the_process_changes_no_other_student(
    context: TrainingContext, tmp_path: Path, user_module: Callable[[str, str], None]
) -> None:
    user_module("changing_network", CHANGING)
    config, innocent, threads = small_config(), small_config(), torch.get_num_threads()
    config["student"]["model"], config["sparsity"]["amount"] = "changing_network:Changing", 0.0
    trial = student_jobs.StudentTrial(config, context, 0, tmp_path / "changing", HERE)
    assert torch.get_num_threads() == threads
    with pytest.raises(RuntimeError, match="does not require grad"):
        trial.step()
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    row = student_jobs.StudentTrial(innocent, context, 0, tmp_path / "innocent", HERE).step()
    assert row["epoch"] == 1
