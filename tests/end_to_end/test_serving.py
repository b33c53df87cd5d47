"""`mlflow models serve` on a registered student: a real server, JSON in, logits out, tutelage not importable."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import torch

from tests.stored_sweep import write_sweep
from tutelage.errors import InputError
from tutelage.export import evaluate, export, logged_model, registry
from tutelage.networks import checkpoint
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.tracker import Tracker
from tutelage.signature import signature_of
from tutelage.spec import loading
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow
MODEL = "models:/served@champion"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, context: TrainingContext) -> SweepDir:
    """A sweep whose one student is registered in the storage's own MLflow store."""
    storage = tmp_path_factory.mktemp("storage")
    home = write_sweep(storage, context, [{"mlp": {"hidden": 12}}])
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    tracker = Tracker(uri, "tests")
    run_id = tracker.start_sweep("stored", {}, [], {})
    tracker.close()
    student = home.student_path("t0000")
    model, architecture = checkpoint.read(student)
    candidate = logged_model.Candidate(
        model=model, signature=signature_of(architecture["signature"]), tags={"tutelage.task": "images"},
        arguments=context.splits["validation"].take(slice(8)).arguments,
        files=[student / checkpoint.ARCHITECTURE, student / checkpoint.WEIGHTS],
    )  # fmt: skip
    registry.register_student(
        logged_model.Run(uri=uri, experiment_id=tracker.experiment_id, run_id=run_id), candidate, "served"
    )
    return home


@pytest.fixture(scope="module")
def server(home: SweepDir, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("server")
    (scratch / "tutelage.py").write_text("raise ImportError('tutelage is not installed here')\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    uri = f"sqlite:///{home.storage.writable_path('mlflow.db')}"
    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri, "PYTHONPATH": str(scratch),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", MODEL, "--env-manager", "local"]
    with (scratch / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", port], env=environment, start_new_session=True, cwd=scratch,
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(url, process, scratch / "log")
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
        process.wait(timeout=30)


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + 150
    while time.monotonic() < deadline_s:
        assert process.poll() is None, f"the server ended before it answered: {log.read_text()[-2000:]}"
        try:
            if requests.get(f"{url}/ping", timeout=10).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.5)
    raise TimeoutError(url)


@pytest.mark.parametrize("key", ["inputs", "instances"])
@pytest.mark.parametrize("rows", [1, 7])
def test_the_served_outputs_for_a_batch_of_any_size_equal_the_students(
    server: str, home: SweepDir, context: TrainingContext, key: str, rows: int
) -> None:
    given = context.splits["validation"].take(slice(rows)).inputs["inputs"]
    answer = requests.post(f"{server}/invocations", json={key: given.tolist()}, timeout=60)
    assert answer.status_code == 200, answer.text
    built, _ = checkpoint.read(home.student_path("t0000"))
    with torch.inference_mode():
        expected = built(given).numpy()
    np.testing.assert_allclose(np.array(answer.json()["predictions"]), expected, atol=1e-5)


def test_examples_of_another_shape_are_rejected_by_the_signature(server: str) -> None:
    answer = requests.post(f"{server}/invocations", json={"inputs": [[[[0.0] * 7] * 7]]}, timeout=60)
    assert answer.status_code == 400 and "shape" in answer.text


def test_a_registered_student_is_exported_and_evaluated_by_its_uri(home: SweepDir, tmp_path: Path) -> None:
    document = export.export_model(MODEL, tmp_path / "out", home.storage.uri, export.Options(forms=["weights"]))
    assert set(document["files"]) == {"model.safetensors", "architecture.json", "README.md"}
    assert "stored/t0000" in (tmp_path / "out" / "README.md").read_text(), "found in the storage by its weights"
    loaded = loading.load(home.spec_path)
    measured = evaluate.evaluate_model(MODEL, loaded, "validation", home.storage.uri)
    assert measured["accuracy"] == pytest.approx(home.records()[0].measures["accuracy"])
    with pytest.raises(InputError, match="no model models:/nobody@champion"):
        evaluate.evaluate_model("models:/nobody@champion", loaded, "validation", home.storage.uri)
