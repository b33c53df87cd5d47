"""A student of a table outside of the training process: rows by column name in, in every form, where tutelage is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from tests.export.test_evaluate import fitted, rows, spec_of
from tutelage.export import export, logged_model, read_back, registry
from tutelage.export.forms import FLOAT_FORMS, QUANTISED_FORMS
from tutelage.networks import checkpoint
from tutelage.records.tracker import Tracker
from tutelage.signature import signature_of
from tutelage.training.context import TrainingContext, context_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table `own.csv`, and a network `net` that has learned it."""
    folder = tmp_path_factory.mktemp("table")
    frame = rows(0, 0, 30).assign(tall=lambda frame: frame["height"] > 20, planted=lambda frame: 1.7e9 + frame["height"])
    frame.to_csv(folder / "own.csv", index=False)
    fitted(context_of(spec_of(folder / "own.csv")), folder / "net")
    return folder


@pytest.fixture(scope="module")
def context(folder: Path) -> TrainingContext:
    return context_of(spec_of(folder / "own.csv"))


def expected(folder: Path, context: TrainingContext) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the raw rows of the file with their columns in another order, and the network's logits for them."""
    frame = pd.read_csv(folder / "own.csv")
    columns = context.signature.inputs[0].columns
    assert [column.name for column in columns] == ["height", "soil", "tall", "planted"]
    network, architecture = checkpoint.read(folder / "net")
    spec = signature_of(architecture["signature"]).inputs[0]
    numbers = np.column_stack(
        [frame["height"], *(frame["soil"] == word for word in ("clay", "loam", "sand")), frame["tall"], frame["planted"]]
    )
    inputs = torch.from_numpy((numbers - np.array(spec.mean)) / np.array(spec.std)).float()
    with torch.inference_mode():
        return frame[["planted", "kind", "soil", "tall", "height"]], network(inputs).numpy()


def test_the_cards_snippets_take_raw_rows_by_name(folder: Path, context: TrainingContext, tmp_path: Path) -> None:
    spec = spec_of(folder / "own.csv")
    forms = (*FLOAT_FORMS, *QUANTISED_FORMS)
    export.export_model(
        str(folder / "net"), tmp_path / "out", folder / "storage", export.Options(forms=forms, data=spec, check=True)
    )  # fmt: skip
    frame, logits = expected(folder, context)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| **Column `soil`** | one of the words clay, loam, sand" in card
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 2
    raw = tmp_path / "raw.csv"
    frame.to_csv(raw, index=False)
    asks = f"""
import csv, pandas
frame = pandas.read_csv({str(raw)!r})
numpy.save({str(tmp_path / "frame.npy")!r}, logits_of(frame))
numpy.save({str(tmp_path / "text.npy")!r}, logits_of(list(csv.DictReader(open({str(raw)!r})))))
warnings.simplefilter("error")
for wrong in ({{"soil": "peat"}}, {{"height": "tall"}}, {{"height": None}}):
    try:
        logits_of([{{**frame.to_dict("records")[0], **wrong}}])
    except (ValueError, UserWarning) as error:
        print(error)
try:
    logits_of(frame.drop(columns="soil"))
except ValueError as error:
    print(error)
"""
    for snippet in snippets:
        alone = "import sys\nsys.modules['tutelage'] = None\n" + snippet + asks
        done = subprocess.run(
            [sys.executable, "-I", "-c", alone], cwd=tmp_path / "out", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        for name in ("frame", "text"):
            np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), logits, atol=1e-4)
        assert done.stdout.splitlines()[1:] == [
            "rows with a word that training lacks, by column: {'soil': 1}",
            "the column 'height' is a number, and holds 'tall' in row 0",
            "the column 'height' is a number, and holds 'None' in row 0",
            "the rows lack the column 'soil'",
        ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"][0]
    assert manifest["columns"][1] == {"name": "soil", "kind": "words", "words": ["clay", "loam", "sand"]}
    assert len(manifest["normalisation"]["mean"]) == 6


def test_a_registered_student_takes_raw_rows_by_name(
    folder: Path, context: TrainingContext, mlflow_store: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = mlflow_store(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # MLflow's own loading opens a store
    tracker = Tracker(uri, "tests")
    run = logged_model.Run(uri=uri, experiment_id=tracker.experiment_id, run_id=tracker.start_sweep("sweep", {}, [], {}))
    tracker.close()
    network, architecture = checkpoint.read(folder / "net")
    candidate = logged_model.Candidate(
        model=network, signature=signature_of(architecture["signature"]), tags={"tutelage.task": "rows"},
        arguments=context.splits["validation"].take(slice(8)).arguments,
        files=[folder / "net" / checkpoint.ARCHITECTURE, folder / "net" / checkpoint.WEIGHTS],
    )  # fmt: skip
    registered = registry.register_student(run, candidate, "rows")
    assert registered.distance <= read_back.TOLERANCE
    frame, logits = expected(folder, context)
    served = mlflow.pyfunc.load_model(str(registry.download(uri, "models:/rows@champion")))
    np.testing.assert_allclose(served.predict(frame), logits, atol=1e-5)
    whole = frame.assign(height=frame["height"].round(), planted=frame["planted"].round())
    integers = whole.assign(height=whole["height"].astype(int))
    np.testing.assert_allclose(served.predict(integers), served.predict(whole))
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs.*soil"):
        served.predict(frame.drop(columns="soil"))
    assert registry.download_network(uri, "models:/rows@champion") is not None
