"""The latency of networks on the device that a spec names, in the form that is exported."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from torch import Tensor, nn

from tutelage.errors import InputError, WorkFailed
from tutelage.networks import runtime, timing
from tutelage.spec.search_sections import LatencyConfig
from tutelage.training.context import TrainingContext

_SHOWN = 300  # characters of what a command printed
Latencies = dict[str, dict[str, float]]  # a network's name → latency_ms and latency_p90_ms


Network = nn.Module | Path | bytes  # as a module, or an ONNX file


def prepared(network: Network, context: TrainingContext) -> Network:
    """Return a network in the form that is measured: ONNX, or a module where `runtime: torch` or `is_not_exported` says so.

    Raises `WorkFailed` for a network that cannot be written as ONNX.
    """
    if context.latency.runtime == "torch" or is_not_exported(network, context.latency):
        return network.cpu() if isinstance(network, nn.Module) else runtime.opened(network)
    if isinstance(network, nn.Module):
        return runtime.onnx_bytes(network.cpu(), context.signature)
    return network.read_bytes() if isinstance(network, Path) else network


def is_not_exported(network: Network, config: LatencyConfig) -> bool:
    """Return whether a network is measured in PyTorch because it says that it has no exported form (`why_not_exported`)."""
    if config.command or config.node or not isinstance(network, nn.Module):
        return False
    return any(getattr(one, "why_not_exported", "") for one in network.modules())


def latencies_ms(networks: Mapping[str, Network], context: TrainingContext) -> Latencies:
    """Return `latency_ms` and `latency_p90_ms` of each network for one validation example, as `resources.latency` sets.

    Networks on one machine are timed in turn. Raises `WorkFailed` for a network that cannot be written as ONNX, and for a node
    or a command that returns no milliseconds.
    """
    config, arguments = context.latency, context.splits["validation"].take(slice(1)).arguments
    ready = {name: prepared(one, context) for name, one in networks.items()}
    files = {name: one for name, one in ready.items() if isinstance(one, bytes)}
    if config.command:
        return {name: _by_command(config.command, file, config.timeout_s) for name, file in files.items()}
    if config.node:
        return _on_node(config, files, arguments)
    return _timed(ready, arguments, config.threads)


def fastest_ms(model: nn.Module, context: TrainingContext, arguments: tuple[Tensor, ...]) -> float:
    """Return a lower bound of a network's median latency on this machine, by the shortest of several passes."""
    config = context.latency
    runs = model if config.runtime == "torch" else runtime.opened(runtime.onnx_bytes(model, context.signature), config.threads)
    return timing.fastest_ms(runs, arguments, config.threads)


def check(config: LatencyConfig) -> None:
    """Raise `InputError` for a command whose program cannot be run here."""
    if config.command and not shutil.which(config.command[0]):
        raise InputError(
            f"resources.latency.command: the program '{config.command[0]}' is not found or not executable. "
            "Install it, or give its path."
        )


def _timed(networks: Mapping[str, Network], arguments: tuple[Tensor, ...], threads: int) -> Latencies:
    opened = {
        name: one if isinstance(one, nn.Module) else runtime.opened(one, threads) for name, one in networks.items()
    }  # fmt: skip
    return timing.latencies_ms(opened, arguments, threads)


def _on_node(config: LatencyConfig, files: Mapping[str, bytes], arguments: tuple[Tensor, ...]) -> Latencies:
    """Measure on a node of the cluster that has the labels."""
    assert config.node is not None
    known = [dict(node.get("Labels") or {}) for node in ray.nodes() if node["Alive"]]
    if not any(config.node.items() <= labels.items() for labels in known):
        shown = "; ".join(", ".join(f"{key}={value}" for key, value in sorted(labels.items())) for labels in known)
        raise WorkFailed(
            f"resources.latency.node: no node of the cluster has the labels {config.node}; the nodes have: {shown}. Start one "
            "with `ray start --labels`."
        )
    remote = ray.remote(num_cpus=0, label_selector=dict(config.node), max_retries=1)(_timed)
    try:
        found: Latencies = ray.get(remote.remote(dict(files), arguments, config.threads), timeout=config.timeout_s)
    except ray.exceptions.GetTimeoutError:
        raise WorkFailed(f"resources.latency.node: no latency within {config.timeout_s:g} s (timeout_s).") from None
    except ray.exceptions.RayError as error:
        raise WorkFailed(f"resources.latency.node: the measurement failed: {str(error).splitlines()[-1]}") from error
    return found


def _by_command(command: Sequence[str], file: bytes, timeout_s: float) -> dict[str, float]:
    """Return what a command prints for an ONNX file, whose path is its last argument."""
    with tempfile.TemporaryDirectory() as scratch:
        (path := Path(scratch) / "model.onnx").write_bytes(file)
        try:
            done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise WorkFailed(f"{_NAMED} did not end within {timeout_s:g} s (timeout_s).") from None
        except (OSError, UnicodeDecodeError) as error:
            raise WorkFailed(f"{_NAMED} could not be run: {error}.") from error
    if done.returncode:
        raise WorkFailed(f"{_NAMED} ended with exit code {done.returncode}: {done.stderr.strip()[-_SHOWN:] or 'no message'}.")
    return _milliseconds(done.stdout)


_NAMED = "resources.latency.command"


def _milliseconds(printed: str) -> dict[str, float]:
    """Return the numbers of the last line: JSON with `latency_ms` and `latency_p90_ms`, or the two numbers in this order."""
    line = (printed.strip().splitlines() or [""])[-1]
    names = ("latency_ms", "latency_p90_ms")
    try:
        given = json.loads(line) if line.startswith("{") else dict(zip(names, map(float, line.split()), strict=True))
        found = {name: float(given[name]) for name in names}
    except (ValueError, KeyError, TypeError):
        found = {}
    if not found or not all(math.isfinite(one) and one > 0 for one in found.values()):
        raise WorkFailed(
            f"{_NAMED} printed '{line[:_SHOWN]}'. Its last line must be two positive numbers, the median and the 90th "
            'percentile in milliseconds, or {"latency_ms": 1.5, "latency_p90_ms": 2.0}.'
        )
    if found["latency_p90_ms"] < found["latency_ms"]:
        raise WorkFailed(f"{_NAMED} printed '{line[:_SHOWN]}': the 90th percentile is below the median.")
    return found
