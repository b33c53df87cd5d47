"""A `tutelage` command that runs in a process of its own, with all the processes that it starts. For Linux."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
TRAINS = re.compile(r"ray::.*Trainable\.train")  # the title of a process, by Ray


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
        with self._process.stderr as lines:
            for line in lines:
                self.stderr += line

    def is_running(self) -> bool:
        """Return whether the command has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the command's own process."""
        return self._process.pid

    def killed(self) -> list[str]:
        """Kill the command's own process, and return the command lines of the processes that are there 10 s later."""
        self._process.kill()
        self.end()
        return self.left(within_s=10)

    def training(self) -> list[int]:
        """Return the ids of the processes that run a step of a trial, in order."""
        return sorted(process for process, title in self._titles() if TRAINS.match(title))

    def left(self, within_s: float) -> list[str]:
        """Return the command lines of the processes that are there after so much time; an empty list as soon as none is."""
        deadline_s = time.monotonic() + within_s
        while (alive := self._alive()) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        return alive

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
        left = self.left(within_s=10)
        assert not left, left
        return code

    def _alive(self) -> list[str]:
        """Return the command lines of the processes that have inherited this command's environment, and its own."""
        return [title for _, title in self._titles()]

    def _titles(self) -> Iterator[tuple[int, str]]:
        for process in self._processes():
            with contextlib.suppress(OSError):
                yield int(process.name), (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()

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
