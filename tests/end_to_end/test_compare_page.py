"""MLflow's compare page of a real sweep, from a real server in a headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.mlflow_server import MlflowServer
from tests.requirements import CHROMIUM, needs_chromium
from tutelage.records import mlflow_views
from tutelage.records.sweep_dir import SweepDir

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1700,1500",
)  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.ray,
    needs_chromium,
]


@pytest.fixture(scope="module")
def server(small_sweep: SweepDir, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = MlflowServer(small_sweep.tracking_uri, tmp_path_factory.mktemp("server"))
    yield server.uri
    server.kill()


def browse(url: str, profile: Path, *flags: str) -> str:
    assert CHROMIUM is not None, "there is no Chromium on this machine"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=60000", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def test_the_compare_page_opens_on_size_against_accuracy(server: str, small_sweep: SweepDir, tmp_path: Path) -> None:
    page = server + mlflow_views.path(small_sweep.facts()["experiment_id"])
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    shown = ("Accuracy by size and cost", "Parallel Coordinates", "size/log10_params", "cost/log10_macs", "front/hypervolume")
    for part in shown:
        assert part in dom, part
    points = re.findall(r'<path class="point[ "]', dom)
    num_finished = sum(record.state == "finished" for record in small_sweep.records())
    with_teacher = num_finished + 1
    assert len(points) >= 2 * with_teacher + 1, "both scatter charts draw every finished student and the teacher"
    picture = tmp_path / "compare.png"
    browse(page, tmp_path / "other", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000
    if keep := os.environ.get("TUTELAGE_KEEP_PICTURE"):
        shutil.copy(picture, keep)


def test_the_front_opens_as_a_table_of_its_students_alone(server: str, small_sweep: SweepDir, tmp_path: Path) -> None:
    page = server + mlflow_views.table_path(small_sweep.facts()["experiment_id"])
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    on_front = set(pipeline_front(small_sweep))
    assert set(re.findall(r">small-(t\d{4})<", dom)) == on_front
    assert "size/bytes" in dom


def pipeline_front(home: SweepDir) -> list[str]:
    from tutelage.report import json_views

    return [student["trial"] for student in json_views.front(home)["students"]]


def test_the_sweeps_own_page_shows_the_fronts_picture_in_its_card(server: str, small_sweep: SweepDir, tmp_path: Path) -> None:
    facts = small_sweep.facts()
    dom = browse(f"{server}/#/experiments/{facts['experiment_id']}/runs/{facts['run_id']}", tmp_path, "--dump-dom")
    (address,) = re.findall(r'<img[^>]*src="(get-artifact[^"]*)"', dom)
    answer = requests.get(f"{server}/{address.replace('&amp;', '&')}", timeout=30)
    assert answer.content == small_sweep.files.local_path("front.png").read_bytes()


def test_the_report_opens_offline(small_sweep: SweepDir, tmp_path: Path) -> None:
    from tutelage.report import sweep_page

    path = sweep_page.write_report(small_sweep)
    dom = browse(path.resolve().as_uri(), tmp_path / "profile", "--dump-dom")
    assert 'class="main-svg"' in dom
    assert len(re.findall(r'<path class="point[ "]', dom)) >= len(small_sweep.records())
