"""Trials in a shared process: changes by one student's code do not affect the next student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contexts import small_config
from tutelage.networks import checkpoint, cost
from tutelage.storage.local import LocalStorage
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
    trial = student_jobs.StudentTrial(config, context, 0, LocalStorage(tmp_path), "changing", HERE)
    assert torch.get_num_threads() == threads
    with pytest.raises(RuntimeError, match="does not require grad"):
        trial.step()
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    row = student_jobs.StudentTrial(innocent, context, 0, LocalStorage(tmp_path), "innocent", HERE).step()
    assert row["epoch"] == 1


@pytest.mark.slow
def test_a_trial_with_a_ladder_gives_a_candidate_a_rung_with_its_own_config(context: TrainingContext, tmp_path: Path) -> None:
    config = small_config()
    config["sparsity"] |= {"ladder": {"rungs": 2, "recovery_epochs": 1}}
    last = finished(config, context, tmp_path, "t0003")
    assert last["measures"] == last["candidates"][2]["measures"], "one result a trial, of what the config asks for"
    assert [one["rung"] for one in last["candidates"]] == [0, 1, 2]
    assert [one["amount"] for one in last["candidates"]] == pytest.approx([0.0, 1 - 0.5**0.5, 0.5])
    for rung, one in enumerate(last["candidates"]):
        read, _ = checkpoint.read(tmp_path / f"t0003.{rung}")
        assert cost.size(read)["params"] == one["measures"]["params"]
        assert (one["config"]["sparsity"]["amount"], one["config"]["student"]["epochs"]) == (one["amount"], 2 + rung)
        again = finished(one["config"], context, tmp_path, f"again{rung}")["candidates"]
        assert [each["measures"] for each in again] == [each["measures"] for each in last["candidates"][: rung + 1]]
        assert (tmp_path / f"again{rung}.{rung}" / checkpoint.WEIGHTS).exists()


def finished(config: dict[str, Any], context: TrainingContext, students: Path, trial_id: str) -> dict[str, Any]:
    trial = student_jobs.StudentTrial(config, context, 0, LocalStorage(students), trial_id, HERE)
    while not (row := trial.step())["done"]:
        pass
    return row
