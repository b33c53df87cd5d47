"""What a sweep was run with, as tags of its run: code, packages, hardware."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("tutelage", "torch", "ray", "optuna", "mlflow", "numpy", "torch-pruning")


GIT_TIMEOUT_S = 10.0


def tags() -> dict[str, str]:
    """Return the tags; those that MLflow has a field for are under its own names."""
    return {**_source(), **_code(), **_packages(), **_hardware()}


def _source() -> dict[str, str]:
    return {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": Path(sys.argv[0]).name or "tutelage",
        "mlflow.user": getpass.getuser(),
    }


def _code() -> dict[str, str]:
    """Return the commits of the working directory and of this package, where they are in git, and whether files are changed."""
    here = commit_of(Path.cwd())
    own = commit_of(Path(__file__).parent, file=Path(__file__).name)
    found: dict[str, str] = {}
    if here is not None:
        found |= {"mlflow.source.git.commit": here[0], "mlflow.source.git.dirty": str(here[1]).lower()}
    if own is not None:
        found |= {"code.tutelage_commit": own[0], "code.tutelage_dirty": str(own[1]).lower()}
    return found


def commit_of(directory: Path, file: str | None = None) -> tuple[str, bool] | None:
    """Return the commit of a directory and whether tracked files in it differ; None outside git.

    With `file`, also None where git does not track that file: a package in an environment inside somebody's repository.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None or (file is not None and _git(directory, "ls-files", "--error-unmatch", file) is None):
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return commit, changes != ""


def _git(directory: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or one that takes too long
        return None
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    return {"packages.python": platform.python_version(), **{f"packages.{name}": version(name) for name in PACKAGES}}


def _hardware() -> dict[str, str]:
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "hardware.cpu": _cpu_model(),
        "hardware.cores": str(os.cpu_count()),
        "hardware.gpu": ", ".join(gpus) or "none",
        "hardware.system": platform.platform(),
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def environment() -> dict[str, str]:
    """Return versions and hardware that the numbers of a sweep were measured with."""
    measured_with = {**_packages(), **_hardware()}
    return {name.partition(".")[2]: value for name, value in measured_with.items()}
