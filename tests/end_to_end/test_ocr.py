"""Lines of text, from a sweep to its report and a selected student."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import needs
from tutelage.selection import select
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [
    needs(importlib.util.find_spec("mlxtend"), "package mlxtend"), pytest.mark.ray, pytest.mark.slow,
    pytest.mark.usefixtures("ray_cluster"),
]  # fmt: skip
SPEC: dict[str, Any] = {
    "name": "lines", "task": "ocr",
    "data": {"digit_lines": {"lines": 128, "validation_lines": 40, "test_lines": 30, "shortest": 1, "longest": 2}},
    "teacher": {"model": {"crnn": {"width": 4, "depth": 2, "hidden": 12}}, "epochs": 1, "accept_weak": True},
    "student": {"model": {"crnn": {"width": 4, "depth": 2, "hidden": {"int": [6, 10]}}}, "epochs": 1},
    "distillation": {"weight": 0.5, "method": {"choice": ["kd", "ctc_blank"]}},
    "search": {"trials": 2, "objectives": ["character_error_rate", "params"]},
}  # fmt: skip


def test_a_sweep_of_readers_is_reported_line_by_line_and_selected_from(tmp_path: Path) -> None:
    home = pipeline.sweep(loading.from_dict({**SPEC, "storage": str(tmp_path)}))
    for record in home.records():
        assert record.state == "finished" and {"character_error_rate", "exact_match", "agreement"} <= set(record.measures)
    choice = select.select(home, policy="min-size", confirm=1)
    assert choice.document["test"]["label_only"]
    page = choice.report_path.read_text(encoding="utf-8")
    assert page.count('<img class="example"') >= 2 and "character error rate" in page
