"""What the explorer of a notebook's cell reads of an MLflow elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tutelage.dashboard.cell import _artifact_of


def test_what_it_downloads_does_not_stay_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*, artifact_path: str, dst_path: str | None = None, **_: Any) -> str:
        path = Path(dst_path or tempfile.mkdtemp()) / artifact_path
        path.write_bytes(b"content")
        return str(path)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    assert _artifact_of("http://mlflow")("run", "snapshot") == b"content"
    assert list(tmp_path.iterdir()) == []
