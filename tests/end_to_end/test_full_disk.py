"""A file system that is really full: the sweep ends with one message, and `resume` brings it to its end without a loss."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tutelage import storage
from tutelage.records import sender
from tutelage.records.observer import Event, TrialEnded
from tutelage.records.sweeps import sweep_at
from tutelage.spec import loading
from tutelage.storage import StorageFailed
from tutelage.sweep import pipeline
from tutelage.sweep.resume import resume

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SIZE_BYTES, TRIALS = 32 * 2**20, 4


def may_mount() -> bool:
    """Return whether this process may mount a file system: root may, but not in every container."""
    command = ("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> Path:
    """Write until nothing more can be written, and return the file that takes the room."""
    filler = disk / "filler"
    done = subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], capture_output=True, text=True, check=False)
    assert "No space left" in done.stderr
    return filler


@pytest.mark.skipif(not may_mount(), reason="a container may forbid mounts, and no package gives the right back")
def test_a_disk_that_fills_during_the_search_loses_nothing(
    ray_cluster: None, disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage, "PATIENCE_S", storage.PATIENCE_S)  # put back after `tests.impatient`
    monkeypatch.setattr(sender, "PATIENCE_S", 2.0)
    tree: dict[str, Any] = {
        "name": "full", "storage": str(disk / "storage"), "data": "tests.impatient:Digits",
        "teacher": {"model": {"mlp": {"hidden": 16}}, "epochs": 1, "accept_weak": True},
        "student": {"model": {"mlp": {"hidden": {"int": [8, 64]}}}, "epochs": 1},
        "search": {"trials": TRIALS, "concurrency": 1},
    }  # fmt: skip
    fillers = list[Path]()

    def filling(event: Event) -> None:
        if isinstance(event, TrialEnded) and not fillers:
            fillers.append(fill(disk))

    with pytest.raises(StorageFailed, match="No space left on device"):
        pipeline.sweep(loading.from_dict(tree), observers=[filling])
    assert "Traceback" not in capfd.readouterr().err
    home = sweep_at(disk / "storage", "full")
    before = {one.trial_id: one.measures for one in home.ledger.read() if one.state == "finished"}
    assert before, "what had ended before the disk was full is on record"
    fillers[0].unlink()
    resume(home)
    records = home.records()
    after = {one.trial_id: one.measures for one in records}
    assert home.facts()["state"] == "finished" and {one.state for one in records} == {"finished"} and len(records) == TRIALS
    for trial, measures in before.items():
        assert {name: after[trial][name] for name in measures} == measures
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri)
    runs = client.search_runs([home.facts()["experiment_id"]], f"tags.`mlflow.parentRunId` = '{home.facts()['run_id']}'")
    assert Counter(run.data.tags["trial_id"] for run in runs) == Counter(one.trial_id for one in records)
