"""MLflow's compare page, as a person meets it: a real server, a real headless Chromium, the points of a real sweep."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tutelage.store import SweepDir

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1700,1500",
)  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.ray,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture
def server(small_sweep: SweepDir) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = small_sweep.facts()["tracking_uri"]
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(url, process)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=20)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 90
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "the server ended before it answered"
        try:
            if requests.get(f"{url}/health", timeout=10).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.5)
    raise TimeoutError(url)


def browse(url: str, profile: Path, *flags: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=60000", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def test_the_compare_page_opens_on_size_against_accuracy(server: str, small_sweep: SweepDir, tmp_path: Path) -> None:
    page = server + small_sweep.facts()["view_path"]
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    for part in ("Accuracy by size", "Parallel Coordinates", "size/log10_params", "cost/macs", "quality/accuracy"):
        assert part in dom, part
    points = re.findall(r'<path class="point[ "]', dom)
    num_finished = sum(record.state == "finished" for record in small_sweep.records())
    assert len(points) >= 2 * num_finished, "both scatter charts draw every finished student"
    picture = tmp_path / "compare.png"
    browse(page, tmp_path / "other", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000
    if keep := os.environ.get("TUTELAGE_KEEP_PICTURE"):
        shutil.copy(picture, keep)


def test_the_report_opens_offline(small_sweep: SweepDir, tmp_path: Path) -> None:
    from tutelage import choosing

    path = choosing.write_report(small_sweep)
    dom = browse(path.resolve().as_uri(), tmp_path / "profile", "--dump-dom")
    assert 'class="main-svg"' in dom
    assert len(re.findall(r'<path class="point[ "]', dom)) >= len(small_sweep.records())
