"""Clips of one's own, from a sweep to its report and a selected student."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_clip_folder import example
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
SPEC: dict[str, Any] = {
    "name": "clips", "task": "video",
    "teacher": {"model": {"frame_gru": {"width": 4, "depth": 2, "hidden": 8}}, "epochs": 1, "accept_weak": True},
    "student": {"model": {"frame_gru": {"width": 2, "depth": 2, "hidden": {"int": [4, 6]}}}, "epochs": 1},
    "distillation": {"weight": 0.5, "method": {"choice": ["kd", "fitnet"]}},
    "search": {"trials": 2, "objectives": ["accuracy", "params"]},
}  # fmt: skip


def test_a_sweep_over_clips_shows_them_as_strips_and_is_selected_from(tmp_path: Path) -> None:
    data = {"clip_folder": example(tmp_path)}
    home = pipeline.sweep(loading.from_dict({**SPEC, "data": data, "storage": str(tmp_path / "storage")}))
    for record in home.records():
        assert record.state == "finished" and {"accuracy", "params", "agreement"} <= set(record.measures)
    choice = select.select(home, policy="min-size", confirm=1)
    assert choice.document["test"]["label_only"]
    page = choice.report_path.read_text(encoding="utf-8")
    assert len(re.findall(r'<img class="example" alt="(\d) of \1 frames"', page)) >= 2
