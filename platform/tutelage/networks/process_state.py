"""The state of a process that a network's code can change, and that other networks in the process depend on.

A network of a user's may set the default type, turn gradients off, seed a generator, change the directory or replace a signal
handler, when it is built or when it is called. Whoever runs it puts the process back as it was.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_Part = tuple[Callable[[], Any], Callable[[Any], object]]  # what reads a part of the state, and what sets it


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _default_device() -> Any:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _set_environment(value: dict[str, str]) -> None:
    for name in set(os.environ) - set(value):
        del os.environ[name]
    os.environ.update(value)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(value: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other thread may set or have set one
        for number, handler in value.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


def _timers() -> list[int]:
    return [timer for timer in _TIMERS if signal.getitimer(timer)[0]]


def _stop_timers(value: list[int]) -> None:
    """Stop the timers that run, but those of `value`."""
    for timer in set(_timers()) - set(value):
        signal.setitimer(timer, 0)


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value


def _set_path(value: tuple[str, ...]) -> None:
    sys.path[:] = value


def _error_filters() -> list[Any]:
    return [entry for entry in warnings.filters if entry[0] == "error"]


def _set_error_filters(value: list[Any]) -> None:
    """Remove the filters that turn warnings into errors, but those of `value`; other filters come from imports."""
    warnings.filters[:] = [entry for entry in warnings.filters if entry[0] != "error" or entry in value]  # type: ignore[index]


def _attribute(module: Any, name: str) -> _Part:
    return lambda: getattr(module, name), lambda value: setattr(module, name, value)


_PARTS: tuple[_Part, ...] = (
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
    ),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, lambda value: torch.autograd.set_detect_anomaly(value)),
    (lambda: torch.is_autocast_enabled("cpu"), lambda value: torch.set_autocast_enabled("cpu", value)),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
    (os.getcwd, os.chdir),
    (lambda: dict(os.environ), _set_environment),
    (_handlers, _set_handlers),
    (_timers, _stop_timers),
    (_umask, os.umask),
    (np.geterr, lambda value: np.seterr(**value)),
    (gc.isenabled, lambda value: gc.enable() if value else gc.disable()),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (socket.getdefaulttimeout, socket.setdefaulttimeout),
    (lambda: tuple(sys.path), _set_path),
    (_error_filters, _set_error_filters),
    _attribute(sys, "stdout"),
    _attribute(sys, "stderr"),
)


class ProcessState:
    """The state of this process at the time of the call, for `put_back`."""

    def __init__(self) -> None:
        self._values = [read() for read, _ in _PARTS]

    def put_back(self) -> None:
        """Set every part that has changed back to its value."""
        for (read, put), value in zip(_PARTS, self._values, strict=True):
            if _read(read) != value:
                put(value)


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except OSError:  # the working directory is gone
        return None


@contextmanager
def preserved() -> Iterator[None]:
    """Put the state of the process back at the end of a block."""
    state = ProcessState()
    try:
        yield
    finally:
        state.put_back()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of torch, NumPy and Python for a block, and put their states back at its end.

    Those of GPUs are seeded as well, and not put back: reading their states would wait for the device.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
