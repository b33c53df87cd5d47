"""What the explorer of a notebook's cell reads of an MLflow elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.dashboard.records import new_sweep
from tutelage.dashboard.cell import _artifact_of, serve_in_thread
from tutelage.errors import InputError


def test_a_sweep_without_a_run_is_an_error(tmp_path: Path) -> None:
    home = new_sweep(tmp_path)
    home.files.remove("events.jsonl")
    with pytest.raises(InputError, match=r"no run in MLflow yet.*tutelage resume stored"):
        serve_in_thread(home)


def test_what_it_downloads_does_not_stay_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*, artifact_path: str, dst_path: str | None = None, **_: Any) -> str:
        path = Path(dst_path or tempfile.mkdtemp()) / artifact_path
        path.write_bytes(b"content")
        return str(path)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    assert _artifact_of("http://mlflow")("run", "snapshot") == b"content"
    assert list(tmp_path.iterdir()) == []
