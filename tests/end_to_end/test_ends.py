"""A sweep is stopped by each signal at each of its stages, and resumed until it finishes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

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
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


class Command:
    """A running `tutelage` command, which can be signalled when a line of its stderr shows that a stage has been reached."""

    def __init__(self, *arguments: str) -> None:
        self._mark = f"TEST_COMMAND={uuid.uuid4()}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment |= dict([self._mark.split("=")])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tutelage.cli import main; main()", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.stderr = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.stderr += line

    def stopped_at(self, stage: str, number: int, *, times: int = 1) -> int:
        """Send the signal when the stage is on stderr; return the exit code after every process of the command has ended."""
        deadline_s = time.monotonic() + 180
        while stage not in self.stderr:
            assert self._process.poll() is None and time.monotonic() < deadline_s, self.stderr
            time.sleep(0.05)
        time.sleep(0.5)
        assert len(self._alive()) > 3, "Ray's processes"
        assert self.listening_on() and self.listening_on() <= LOOPBACK
        for _ in range(times):
            self._process.send_signal(number)
            time.sleep(0.3)
        code = self.end()
        deadline_s = time.monotonic() + 10
        while left := self._alive():
            assert time.monotonic() < deadline_s, left
            time.sleep(0.2)
        return code

    def _alive(self) -> list[str]:
        """Return the command lines of the processes that have inherited this command's environment, and its own."""
        return [(process / "cmdline").read_bytes().replace(b"\0", b" ").decode() for process in self._processes()]

    def _processes(self) -> list[Path]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(process)
        return found

    def listening_on(self) -> set[str]:
        """Return the addresses on which the command's processes listen, in hexadecimal."""
        sockets = set()
        for process in self._processes():
            for descriptor in (process / "fd").glob("*"):
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
        lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
        return {line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}

    def end(self) -> int:
        """Wait for the command; return its exit code."""
        code = self._process.wait(timeout=240)
        self._reader.join()
        return code


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
