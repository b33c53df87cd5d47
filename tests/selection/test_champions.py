"""Under which names a student can be registered, and when it becomes the champion."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.stored_sweep import selection_of, write_sweep
from tutelage import plugins
from tutelage.cli import app
from tutelage.errors import InputError
from tutelage.export import registry
from tutelage.networks import checkpoint, cost
from tutelage.networks.program import program_of
from tutelage.selection import champions
from tutelage.selection.champions import Registration, _promoted, register
from tutelage.selection.test_split import Subject
from tutelage.training.context import TrainingContext

ACCURACY = plugins.measure("accuracy")
FORMER = Subject(name="digits version 1", model=nn.Linear(10, 10), size_bytes=440.0)
BYTES = cost.size(FORMER.model)["size_bytes"]


def document(low: float, size_bytes: float) -> dict[str, Any]:
    gain = {"difference": low + 0.01, "low": low, "high": low + 0.02}
    return {"test": {"gain_over_champion": gain}, "student": {"measures": {"size_bytes": size_bytes}}}


@pytest.mark.parametrize(
    ("margin", "low", "size_bytes", "is_promoted"),
    [
        (0.03, -0.02, BYTES - 1, True), (0.02, -0.021, BYTES - 1, False), (0.0, -0.001, BYTES - 1, False),
        (0.03, -0.02, BYTES, False), (0.0, 0.001, BYTES + 1, True),
    ],
)  # fmt: skip
def test_a_smaller_student_may_be_worse_by_the_margin(margin: float, low: float, size_bytes: float, is_promoted: bool) -> None:
    registration = Registration(name="digits", margin=margin)
    assert _promoted(ACCURACY, registration, FORMER, document(low, size_bytes))[0] is is_promoted


def test_the_first_and_the_forced_one_are_promoted_without_a_comparison() -> None:
    assert _promoted(ACCURACY, Registration(name="digits"), None, {})[0]
    assert _promoted(ACCURACY, Registration(name="digits", force=True), FORMER, document(-0.5, BYTES))[0]


NAMES = ["", " ", "a/b", "a:b", "a@b", ".", ".."]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_mlflow_does_not_take_are_input_errors(name: str, tmp_path: Path) -> None:
    for attempt in (lambda: Registration(name=name), lambda: registry.roll_back(f"sqlite:///{tmp_path}/mlflow.db", name)):
        with pytest.raises(InputError, match="is no name of a registered model"):
            attempt()
    with pytest.raises(InputError, match="is no name of a registered model"):
        app(["select", "none", "--register", name, "--storage", str(tmp_path)], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_several_words_is_taken() -> None:
    assert Registration(name="digits reader.v2").name == "digits reader.v2"


def test_an_alias_is_checked_with_the_name() -> None:
    with pytest.raises(InputError, match="is not an alias"):
        Registration(name="digits", aliases=["v1"])


def test_an_empty_policy_is_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        app(["select", "none", "--policy", "", "--storage", str(tmp_path)], standalone_mode=False)


def test_a_student_is_registered_with_its_aliases_and_tags(
    tmp_path: Path, context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def register_student(run: Any, candidate: Any, name: str, **how: Any) -> registry.RegisteredStudent:
        given.update(how, name=name, tags=candidate.tags, files=[path.name for path in candidate.files])
        return registry.RegisteredStudent(name=name, version="1", aliases=[], previous=None, model_uri="", distance=0.0)

    monkeypatch.setattr(registry, "register_student", register_student)
    home = write_sweep(tmp_path, context, [{"mlp": {"hidden": 3}}])
    selected = selection_of("stored", home.records()[0])
    tracker: Any = SimpleNamespace(experiment_id="7")
    found = register(Registration(name="m", aliases=["small"]), None, home, tracker, selected, context)
    assert (found["promoted"], found["why"]) == (True, "There was no champion.")
    assert (given["name"], given["as_champion"], given["aliases"]) == ("m", True, ["small"])
    assert given["files"] == ["architecture.json", "model.safetensors"]
    assert given["tags"].items() >= {
        "tutelage.sweep": "stored", "tutelage.trial": "t0000", "tutelage.data": context.fingerprint[:32],
        "tutelage.test_accuracy": "0.9400",
    }.items()  # fmt: skip


def test_a_registered_network_takes_examples_as_the_data_hold_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=draw.integers(0, 255, (60, 3, 8, 8), dtype=np.uint8), y=np.arange(60) % 3)
    room = TrainingContext(data={"arrays": {"path": str(tmp_path / "data.npz")}}, task="image_classification", seed=0)
    architecture = room.architecture({"convnet": {"width": 4}})
    network = checkpoint.seeded(architecture, 0).eval()
    checkpoint.write(tmp_path / "net", network, architecture)
    candidate = champions.candidate_of(tmp_path / "net", (), room, {})
    (stored,) = candidate.arguments
    given = room.splits["validation"]
    assert torch.equal(stored, given.inputs["inputs"].values[:8].float())
    program = program_of(candidate.model, candidate.signature).module()
    with torch.inference_mode():
        expected = network(*given.take(slice(None)).arguments)
        torch.testing.assert_close(candidate.model(stored), expected[:8])
        torch.testing.assert_close(program(stored[:5]), expected[:5])
