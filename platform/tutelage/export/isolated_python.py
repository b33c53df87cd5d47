"""Python run where nothing but installed packages is there: isolated, and without PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run(code: str, arguments: Sequence[str], directory: Path | str) -> str:
    """Run `code` in a process of its own that stands in `directory`; return "", or the last line it said as it failed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-I", "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=directory, check=False)
    return (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else ""
