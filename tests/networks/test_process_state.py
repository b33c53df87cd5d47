"""What a network's code changes in the process, and that it is put back."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.networks.process_state import preserved, seeded

CHANGES: dict[str, tuple[Callable[[Path], Any], Callable[[], Any]]] = {  # what changes a part of the state, and what reads it
    "gradients": (lambda _: torch._C._set_grad_enabled(False), torch.is_grad_enabled),
    "type": (lambda _: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "device": (lambda _: torch.set_default_device("meta"), lambda: torch.empty(1).device),
    "threads": (lambda _: torch.set_num_threads(torch.get_num_threads() + 2), torch.get_num_threads),
    "deterministic": (lambda _: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled),
    "precision": (lambda _: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "anomaly": (lambda _: torch.autograd.set_detect_anomaly(True), torch.is_anomaly_enabled),
    "directory": (os.chdir, os.getcwd),
    "environment": (lambda _: os.environ.update(TUTELAGE_TEST="1"), lambda: dict(os.environ)),
    "unset": (lambda _: os.environ.pop("PATH"), lambda: dict(os.environ)),
    "signal": (lambda _: signal.signal(signal.SIGUSR1, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGUSR1)),
    "timer": (lambda _: signal.setitimer(signal.ITIMER_VIRTUAL, 1e4), lambda: signal.getitimer(signal.ITIMER_VIRTUAL)),
    "umask": (lambda _: os.umask(0o777), lambda: os.umask(0o022)),
    "numpy": (lambda _: np.seterr(all="raise"), np.geterr),
    "recursion": (lambda _: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "sockets": (lambda _: socket.setdefaulttimeout(0.5), socket.getdefaulttimeout),
    "path": (lambda _: sys.path.clear(), lambda: list(sys.path)),
    "warnings": (lambda _: warnings.simplefilter("error"), lambda: [one for one in warnings.filters if one[0] == "error"]),
    "output": (lambda _: setattr(sys, "stdout", sys.stderr), lambda: sys.stdout),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_process_ends_with_the_block(name: str, tmp_path: Path) -> None:
    change, read = CHANGES[name]
    before = read()
    with preserved():
        change(tmp_path)
    assert read() == before


def test_a_change_ends_with_a_block_that_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        _failing()
    assert torch.get_default_dtype() == torch.float32


@preserved()
def _failing() -> None:
    torch.set_default_dtype(torch.float64)
    raise ZeroDivisionError


def test_a_working_directory_that_was_removed_is_left(tmp_path: Path) -> None:
    before, gone = os.getcwd(), tmp_path / "gone"
    with preserved():
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
    assert os.getcwd() == before


def test_generators_are_seeded_within_the_block_only() -> None:
    def drawn() -> list[float]:
        return [torch.rand(1).item(), float(np.random.rand()), random.random()]

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    outside = [drawn() for _ in range(2)]
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    found = [drawn()]
    with seeded(2**40 + 7):
        first = drawn()
    found.append(drawn())
    with seeded(2**40 + 7):
        again = drawn()
    assert found == outside and first == again != outside[0]
