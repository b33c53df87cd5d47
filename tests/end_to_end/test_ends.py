"""A sweep is stopped by each signal at each of its stages, and resumed until it finishes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command import Command
from tests.conftest import SMALL_SPEC
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views
from tutelage.spec.yaml_lines import dump

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SPEC: dict[str, Any] = {
    **SMALL_SPEC,
    "name": "ends",
    "teacher": {**SMALL_SPEC["teacher"], "epochs": 30},
    "search": {"trials": 4, "confirm": 2, "checkpoint_epochs": 1},
}


def test_every_signal_stops_a_sweep_at_every_stage_and_resume_finishes_it(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(dump({**SPEC, "storage": str(tmp_path / "storage")}))
    home = SweepDir(tmp_path / "storage" / "sweeps" / "ends")
    again = ["resume", "ends", "--storage", str(tmp_path / "storage")]
    first = ["sweep", str(tmp_path / "spec.yaml")]
    for arguments, stage, number, code in (
        (first, "training the teacher", signal.SIGINT, 130),
        (again, "computing the teacher's knowledge", signal.SIGTERM, 143),
        (again, "t0000 finished", signal.SIGHUP, 129),
        (again, "with 2 fresh seeds each", signal.SIGINT, 130),
    ):
        command = Command(*arguments)
        assert command.stopped_at(stage, number, times=2) == code, command.stderr
        assert f"stopped by {signal.Signals(number).name}" in command.stderr
        assert f"tutelage resume ends --storage {tmp_path / 'storage'}" in command.stderr
        assert "Traceback" not in command.stderr
        assert json_views.status(home)["state"] == "stopped"
    assert Command(*again).end() == 0
    assert json_views.status(home)["state"] == "finished" and len(home.trials()) == 4
    assert {record.state for record in home.trials()} == {"finished"}
