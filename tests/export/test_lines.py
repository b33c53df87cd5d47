"""A reader of lines leaves in every form, for any width, and is evaluated, described and registered as it was."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.requirements import needs
from tutelage.export import evaluate, export, load, logged_model, read_back, registry
from tutelage.export.export import Options
from tutelage.export.forms import FLOAT_FORMS, FORMS
from tutelage.networks import checkpoint
from tutelage.networks.trust import EVERYTHING
from tutelage.records.tracker import Tracker
from tutelage.spec import loading
from tutelage.training import inference
from tutelage.training.context import TrainingContext

pytestmark = [needs(importlib.util.find_spec("mlxtend"), "package mlxtend"), pytest.mark.slow]
MODEL = {"crnn": {"width": 4, "depth": 2, "hidden": 6}}
SPEC: dict[str, Any] = {
    "name": "lines", "task": "ocr", "data": {"digit_lines": {"lines": 32, "validation_lines": 24, "test_lines": 8}},
    "teacher": {"model": MODEL}, "student": {"model": MODEL},
}  # fmt: skip


class Reader:
    """An untrained reader of lines in a directory of its own, and its data."""

    def __init__(self, folder: Path) -> None:
        self.loaded, self.directory = loading.from_dict(SPEC), folder / "student"
        self.room = TrainingContext(data=self.loaded.data, task=self.loaded.task, seed=0)
        architecture = self.room.architecture(MODEL)
        self.model = checkpoint.seeded(architecture, 0).eval()
        checkpoint.write(self.directory, self.model, architecture)


def test_an_exported_reader_of_lines_is_the_student_in_every_form(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    options = Options(forms=list(FLOAT_FORMS), check=True, data=reader.loaded)
    document = export.export_model(str(reader.directory), tmp_path / "out", tmp_path, options)
    assert max(document["largest_difference"].values()) <= read_back.TOLERANCE
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["inputs"][0]["shape"] == ["batch", "columns_steps", 1, 32]
    assert manifest["outputs"][0]["shape"] == ["batch", "characters_steps", 11]
    own = inference.measured(reader.model, reader.room.built_task, reader.room.splits["validation"])
    file = tmp_path / "out" / FORMS["onnx"][0]
    found = evaluate.evaluate_model(str(file), reader.loaded, "validation", tmp_path / "out")
    assert found["character_error_rate"] == pytest.approx(own["character_error_rate"])
    assert found["exact_match"] == own["exact_match"] and found["latency_ms"] > 0
    _check_snippet(tmp_path, reader.room, reader.model)


def _check_snippet(folder: Path, room: TrainingContext, model: torch.nn.Module) -> None:
    """The card's code takes lines as the data hold them, of unequal widths."""
    field = room.splits["validation"].inputs["columns"]
    lines = [field.take(torch.tensor([row]))[0][0].tolist() for row in range(2)]
    (folder / "lines.json").write_text(json.dumps(lines))
    batch = room.splits["validation"].take(slice(2))
    with torch.inference_mode():
        expected = model(*batch.arguments)["characters"].numpy()
    found = re.findall(r"```python\n(.*?)```", (folder / "out/README.md").read_text(), re.DOTALL)
    (snippet,) = [one for one in found if "onnxruntime" in one]
    asks = (
        f"\nlines = json.load(open({str(folder / 'lines.json')!r}))\n"
        f"numpy.savez({str(folder / 'answers.npz')!r}, **logits_of([{{'columns': one}} for one in lines]))\n"
    )
    command = [sys.executable, "-I", "-c", "import sys\nsys.modules['tutelage'] = None\n" + snippet + asks]
    done = subprocess.run(command, cwd=folder / "out", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(folder / "answers.npz")["characters"], expected, atol=1e-5)


def test_a_registered_reader_of_lines_takes_lines_of_any_width(tmp_path: Path) -> None:
    reader, uri = Reader(tmp_path), f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(uri, "tests")
    run = logged_model.Run(uri=uri, experiment_id=tracker.experiment_id, run_id=tracker.start_sweep("lines", {}, [], {}))
    tracker.close()
    candidate = logged_model.Candidate(
        model=reader.model, signature=reader.room.signature,
        arguments=reader.room.splits["validation"].take(slice(8)).arguments, tags={"tutelage.task": "ocr"},
        files=[reader.directory / name for name in (checkpoint.ARCHITECTURE, checkpoint.WEIGHTS)],
    )  # fmt: skip
    assert registry.register_student(run, candidate, "reader").distance <= read_back.TOLERANCE
    network = registry.download_network(uri, "models:/reader@champion")
    assert load.read(network or tmp_path, EVERYTHING).signature == reader.room.signature
