"""The cluster of a sweep: what it cannot give is refused; no worker outlives it; workers of others are left alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
import ray
import torch

from tests.conftest import SMALL_SPEC
from tests.processes import is_alive
from tutelage.errors import UnreachableError
from tutelage.placement import Node
from tutelage.spec import loading
from tutelage.training import cluster


@pytest.mark.slow
def test_the_processes_of_a_cluster_that_started_here_end_with_the_block(sleeping: Callable[[str], psutil.Process]) -> None:
    with cluster._watched(is_own=True) as mark:
        worker, other = sleeping(mark), sleeping("another")
        assert is_alive(worker)
    assert not is_alive(worker) and is_alive(other)


def test_the_processes_of_a_cluster_that_others_started_are_left_alone(sleeping: Callable[[str], psutil.Process]) -> None:
    with cluster._watched(is_own=False) as mark:
        worker = sleeping(mark)
    assert is_alive(worker)


TWO_NODES = [{"CPU": 1.0}, {"CPU": 1.0}]
ONE_NODE = [{"CPU": 2.0}]


@pytest.mark.parametrize(
    ("there", "trial", "why"),
    [
        (ONE_NODE, {"workers": 2, "cpus": 1}, ""),
        (TWO_NODES, {"workers": 2, "cpus": 1}, ""),
        (TWO_NODES, {"cpus": 2}, "asks for 2 CPUs, and no node has that much: there are 2 nodes"),
        (ONE_NODE, {"cpus": 3}, "asks for 3 CPUs, and no node has that much: there is one node with 2 CPUs"),
        (ONE_NODE, {"workers": 100, "cpus": 1}, "100 workers of 1 CPU each, and there is room for 2"),
        (ONE_NODE, {"gpus": 1}, "asks for 1 CPU and 1 GPU, and no node has that much"),
        (TWO_NODES, {"gpus": 0.5}, "asks for 1 CPU and 0.5 GPUs, and no node has that much"),
    ],
)
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_trial_that_fits_no_node_is_an_error_before_anything_is_trained(
    is_connected: bool, there: list[dict[str, float]], trial: dict[str, float], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster its nodes are counted; without one, as in a dry run, this machine."""
    monkeypatch.setattr(ray, "is_initialized", lambda: is_connected or len(there) > 1)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": one} for one in there])
    monkeypatch.setattr(cluster, "_grows", lambda: False)
    monkeypatch.setattr(cluster, "get_num_cpus", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    spec = loading.from_dict({**SMALL_SPEC, "resources": {"trial": trial}})
    with pytest.raises(UnreachableError, match=why) if why else nullcontext():
        cluster.check_resources(spec)
    monkeypatch.setattr(cluster, "_grows", lambda: True)
    cluster.check_resources(spec)


@pytest.mark.parametrize(
    ("total", "free", "share"), [({"GPU": 4.0}, {"GPU": 1.0}, 0.75), ({"GPU": 4.0}, {}, 1.0), ({}, {}, 0.0)]
)
def test_the_share_of_gpus_is_that_of_reserved_ones(
    total: dict[str, float], free: dict[str, float], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(ray, "available_resources", lambda: free)
    assert cluster.gpu_share() == share


def test_a_hundred_trials_at_once_are_as_many_as_fit() -> None:
    spec = loading.from_dict({**SMALL_SPEC, "search": {"trials": 200, "concurrency": 100}})
    assert cluster.trials_at_once(spec, [Node(cpus=2, gpus=0)]) == 2


@pytest.mark.parametrize("directory", ["/proc", "{tmp_path}/file", "{tmp_path}/file/within"])
def test_a_temporary_directory_that_takes_no_files_is_named_before_ray_starts(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_TMPDIR", where := directory.format(tmp_path=tmp_path))
    with pytest.raises(UnreachableError, match=f"the temporary directory {where} takes no files .* set RAY_TMPDIR"):
        cluster._start("mark")


def test_a_full_disk_below_the_temporary_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "new"))
    cluster.check_temporary_directory()
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: full)
        with pytest.raises(UnreachableError, match=r"takes no files .*No space left on device"):
            cluster.check_temporary_directory()


def test_a_machine_too_busy_for_ray_to_start_is_an_error_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(UnreachableError, match=r"timed out during startup\. Start again when the machine is less busy"):
        cluster._connect(None, "mark")
