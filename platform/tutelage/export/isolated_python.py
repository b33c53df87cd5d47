"""Python code run in a process that sees installed packages only: isolated, and without PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run(code: str, arguments: Sequence[str], directory: Path | str) -> str:
    """Run `code` in a new process with the working directory `directory`; return "", or its last line of error if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-I", "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=directory, check=False)
    return (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else ""
