"""A sweep is stopped by each signal at each of its stages, and resumed until it finishes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.command import Command
from tests.conftest import SMALL_SPEC
from tutelage import signals
from tutelage.records.observer import Event, StageStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.sweeps import sweep_at
from tutelage.report import json_views
from tutelage.spec.yaml_lines import dump
from tutelage.sweep.resume import resume

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SPEC: dict[str, Any] = {
    **SMALL_SPEC,
    "name": "ends",
    "teacher": {**SMALL_SPEC["teacher"], "epochs": 30},
    "search": {"trials": 4, "confirm": 2, "checkpoint_epochs": 1},
}


def stopped_here(home: SweepDir, stage: str, number: int) -> list[str]:
    """Resume the sweep in this process, send it the signal at a stage, and return the notes of how it stopped."""

    def observer(event: Event) -> None:
        if isinstance(event, StageStarted) and stage in event.text:
            os.kill(os.getpid(), number)

    with pytest.raises(signals.STOPS) as stopped:
        resume(home, observers=[observer])
    assert signals.received() == number
    deadline_s = time.monotonic() + 60
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < deadline_s, ray.available_resources()
        time.sleep(0.2)
    return stopped.value.__notes__


def test_every_signal_stops_a_sweep_at_every_stage_and_resume_finishes_it(ray_cluster: None, tmp_path: Path) -> None:
    """As a command, with a cluster of its own that ends too, while it starts processes and while trials run; else here."""
    (tmp_path / "spec.yaml").write_text(dump({**SPEC, "storage": str(tmp_path / "storage")}))
    home = sweep_at(tmp_path / "storage", "ends")
    again = ["resume", "ends", "--storage", str(tmp_path / "storage")]
    first = ["sweep", str(tmp_path / "spec.yaml")]
    how = f"tutelage resume ends --storage {tmp_path / 'storage'}"
    for arguments, stage, number, code in (
        (first, "training the teacher", signal.SIGINT, 130),
        (None, "computing the teacher's knowledge", signal.SIGTERM, 0),
        (again, "t0000 finished", signal.SIGTERM, 143),
        (None, "with 2 fresh seeds each", signal.SIGHUP, 0),
    ):
        if arguments is None:
            said = " ".join(stopped_here(home, stage, number))
        else:
            command = Command(*arguments)
            assert command.stopped_at(stage, number, times=2) == code, command.stderr
            said = command.stderr
        assert f"stopped by {signal.Signals(number).name}" in said and how in said
        assert "Traceback" not in said
        assert json_views.status(home)["state"] == "stopped"
    resume(home)
    assert json_views.status(home)["state"] == "finished" and len(home.trials()) == 4
    assert {record.state for record in home.trials()} == {"finished"}
