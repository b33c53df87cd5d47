"""The code that MLflow serves gives a network's own logits, for each kind of inputs and label sequences of the package."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest

from tests.plain import examples_for, signature_for, students
from tutelage.export import logged_model, read_back, served_arrays
from tutelage.networks import checkpoint
from tutelage.networks.program import program_bytes, program_of

SERVED = {signature: name for name in students() if served_arrays.is_several(signature := signature_for(name))}


def served(place: Path, model: Any, signature: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the served object, as MLflow loads it."""
    found: list[Any] = []
    monkeypatch.setattr(mlflow.models, "set_model", found.append)
    exec(served_arrays.SERVED, {})
    (place / "model.pt2").write_bytes(program_bytes(program_of(model, signature), {}))
    (place / "interface.json").write_text(json.dumps(served_arrays.interface(signature)), encoding="utf-8")
    artifacts = {"program": str(place / "model.pt2"), "interface": str(place / "interface.json")}
    found[0].load_context(SimpleNamespace(artifacts=artifacts))
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED.values())
def test_a_served_network_gives_its_own_logits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = signature_for(name)
    model = checkpoint.seeded({"version": 2, "model": name, "signature": signature.document()}, 0).eval()
    arguments = examples_for(signature, 4)
    names = served_arrays.interface(signature)["arguments"]
    given = {key: tensor.numpy() for key, tensor in zip(names, arguments, strict=True)}
    found = served(tmp_path, model, signature, monkeypatch).predict(None, given if len(given) > 1 else given[names[0]])
    found = found if isinstance(found, dict) else {signature.outputs[0].name: found}
    expected = read_back.outputs_in_process(model, signature, arguments)
    assert list(found) == list(signature.classes)
    for key, logits in expected.items():
        np.testing.assert_allclose(found[key], logits, atol=1e-5)


def test_a_network_of_several_label_sequences_is_served_by_code() -> None:
    """MLflow's PyTorch flavour logs such a network, and fails at each request."""
    signature = signature_for("detector")
    assert len(signature.inputs) == 1 < len(signature.outputs)
    model = checkpoint.seeded({"version": 2, "model": "detector", "signature": signature.document()}, 0)
    candidate = logged_model.Candidate(model=model, signature=signature, arguments=examples_for(signature, 2), tags={})
    assert logged_model._logger_of(candidate) is logged_model._log_arrays


def test_a_ragged_input_and_its_mask_are_two_arrays() -> None:
    signature = signature_for("crnn")
    assert len(signature.outputs) == 1 and len(served_arrays.interface(signature)["arguments"]) == 2
    assert served_arrays.is_several(signature) and not served_arrays.is_several(signature_for("mlp"))
