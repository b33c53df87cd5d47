"""Registration with a real MLflow store, and a reload in a clean process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from torch import nn

from tests.plain import architecture_of, plain_signature
from tests.stored_sweep import spec_tree
from tutelage.errors import InputError, UnreachableError, WorkFailed
from tutelage.export import logged_model, read_back, registry
from tutelage.networks import checkpoint
from tutelage.records import sweeps
from tutelage.records.tracker import Tracker
from tutelage.selection.champions import Registration, champion
from tutelage.signature import Signature, signature_of
from tutelage.spec.loading import from_dict
from tutelage.spec.sections import TeacherConfig
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import external_teacher
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow


class Model(nn.Sequential):
    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        super().__init__(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))


@pytest.fixture(scope="module")
def store(mlflow_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    uri = mlflow_store(tmp_path_factory.mktemp("registry"))
    tracker = Tracker(uri, "tests")
    run_id = tracker.start_sweep("sweep", {}, [], {})
    tracker.close()
    return uri, run_id


def register(
    store: tuple[str, str], model: nn.Module, task: str = "images", name: str = "student", **how: Any
) -> registry.RegisteredStudent:
    candidate = logged_model.Candidate(
        model=model, signature=plain_signature(names="abc"), arguments=(torch.randn(4, 1, 8, 8),),
        tags={"tutelage.task": task, "tutelage.sweep": "sweep"},
    )  # fmt: skip
    return registry.register_student(run_of(store), candidate, name, **how)


def run_of(store: tuple[str, str]) -> logged_model.Run:
    return logged_model.Run(uri=store[0], experiment_id="1", run_id=store[1])


def written(directory: Path, architecture: dict[str, Any], arguments: torch.Tensor, **tags: str) -> logged_model.Candidate:
    """Write an untrained network of an architecture into `directory`, and return it as it is registered."""
    made = checkpoint.build(architecture).eval()
    checkpoint.write(directory, made, architecture)
    return logged_model.Candidate(
        model=made, signature=signature_of(architecture["signature"]), arguments=(arguments,), tags=tags,
        files=[directory / checkpoint.ARCHITECTURE, directory / checkpoint.WEIGHTS],
    )  # fmt: skip


@contextmanager
def taken_as_read_back() -> Iterator[None]:
    """Skip the clean process that reads a registered student back: it takes seconds, and only two tests are about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logged_model, "distance_when_read_back", lambda *_, **__: 0.0)
        yield


@pytest.fixture
def unread() -> Iterator[None]:
    with taken_as_read_back():
        yield


def aliases_of(store: tuple[str, str], name: str) -> dict[str, str]:
    client = mlflow.MlflowClient(tracking_uri=store[0], registry_uri=store[0])
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def test_a_student_becomes_champion_and_the_former_one_previous(store: tuple[str, str]) -> None:
    with taken_as_read_back():
        first = register(store, Model(0).train())
    second = register(store, Model(1))
    assert (first.version, first.previous, first.aliases) == ("1", None, ["champion"])
    assert (second.version, second.previous) == ("2", "1")
    assert second.distance <= read_back.TOLERANCE
    assert aliases_of(store, "student") == {"champion": "2", "previous": "1"}
    logged = registry.download(store[0], "models:/student@champion")
    about = yaml.safe_load((logged / "MLmodel").read_text())
    assert '"shape": [-1, 1, 8, 8]' in about["signature"]["inputs"]
    assert "torch==2.13" in (logged / "requirements.txt").read_text()


@pytest.mark.usefixtures("unread")
def test_a_registered_student_is_a_teacher_by_its_uri(store: tuple[str, str], tmp_path: Path) -> None:
    room = TrainingContext(data="digits", task="image_classification", seed=0)
    about = room.architecture({"mlp": {"hidden": 8}})
    examples, uri = room.splits["validation"].take(slice(4)).inputs["inputs"], store[0]
    candidate = written(tmp_path, about, examples, **{"tutelage.task": "images", "tutelage.sweep": "sweep"})
    registry.register_student(run_of(store), candidate, "teacher")
    made = candidate.model
    found, _ = external_teacher.read_teacher(TeacherConfig(path="models:/teacher@champion"), about, room.splits["train"], uri)
    with torch.inference_mode():
        assert torch.equal(found(examples), made(examples))
    register(store, Model(0))
    with pytest.raises(InputError, match="A pickled model is not loaded"):
        external_teacher.read_teacher(TeacherConfig(path="models:/student@champion"), about, room.splits["train"], uri)
    with pytest.raises(InputError, match="no model models:/nobody"):
        external_teacher.read_teacher(TeacherConfig(path="models:/nobody@champion"), about, room.splits["train"], uri)


@pytest.mark.usefixtures("unread")
def test_a_student_that_is_not_promoted_is_a_version_with_the_given_aliases(store: tuple[str, str]) -> None:
    register(store, Model(0), name="guarded")
    second = register(store, Model(1), name="guarded", as_champion=False, aliases=["smallest", "fastest"])
    assert aliases_of(store, "guarded") == {"champion": "1", "smallest": "2", "fastest": "2"}
    assert (second.aliases, second.previous, second.model_uri) == (["smallest", "fastest"], None, "models:/guarded@smallest")
    third = register(store, Model(2), name="guarded", as_champion=False)
    assert third.model_uri == "models:/guarded/3"
    found = registry.find_champion(store[0], "guarded", "images")
    assert found is not None and (found.version, found.origin) == ("1", "sweep/?")
    assert registry.find_champion(store[0], "nobody", "images") is None


@pytest.mark.usefixtures("unread")
def test_rolling_back_swaps_champion_and_previous_and_undoes_itself(store: tuple[str, str]) -> None:
    register(store, Model(0), name="rolled")
    with pytest.raises(InputError, match="no version of 'rolled' was champion before"):
        registry.roll_back(store[0], "rolled")
    register(store, Model(1), name="rolled")
    assert registry.roll_back(store[0], "rolled") == registry.RolledBack(name="rolled", champion="1", previous="2")
    assert aliases_of(store, "rolled") == {"champion": "1", "previous": "2"}
    registry.roll_back(store[0], "rolled")
    assert aliases_of(store, "rolled") == {"champion": "2", "previous": "1"}
    with pytest.raises(InputError, match="no registered model 'nobody'"):
        registry.roll_back(store[0], "nobody")


@pytest.mark.parametrize("given", ["", "sqlite:///mine.db"])
def test_mlflow_s_own_settings_are_as_they_were_after_a_call(
    store: tuple[str, str], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """What was not set is not set: the default is a file in the working directory, whichever that is later."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    mlflow.set_tracking_uri(given or None)  # type: ignore[arg-type]
    mlflow.set_registry_uri("")
    with pytest.raises(InputError, match="no model models:/no/1"):
        registry.download(store[0], "models:/no/1")
    assert os.environ.get("MLFLOW_TRACKING_URI", "") == given and "MLFLOW_REGISTRY_URI" not in os.environ
    assert mlflow.is_tracking_uri_set() is bool(given) and mlflow.get_registry_uri() == mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("sqlite:///other.db")
    assert mlflow.get_registry_uri() == "sqlite:///other.db"
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("alias", ["v3", "latest", "a b", "", "champion", "previous"])
def test_an_alias_that_mlflow_does_not_accept_is_an_input_error(alias: str) -> None:
    with pytest.raises(InputError, match="alias"):
        registry.check_aliases([alias])
    registry.check_aliases(["smallest", "edge-2_b"])


def test_an_unreachable_registry_is_an_error_that_names_the_settings(server_that_answers: Callable[[int], str]) -> None:
    with pytest.raises(UnreachableError, match=r"rejects the request: .*403.*MLFLOW_TRACKING_TOKEN"):
        registry.find_champion(server_that_answers(403), "student", "images")


@pytest.fixture
def server_that_answers() -> Iterator[Callable[[int], str]]:
    """Start an HTTP server that gives every request one status, and return its address."""
    servers = []

    def start(status: int) -> str:
        class Output(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Output))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("unread")
def test_a_champion_is_read_back_to_be_compared_and_an_error_if_it_has_other_classes(
    store: tuple[str, str], tmp_path: Path
) -> None:
    uri = store[0]
    room, home = (
        TrainingContext(data="digits", task="image_classification", seed=0),
        sweeps.create(tmp_path, "a", dump(from_dict({**spec_tree(tmp_path, "a"), "tracking": {"uri": uri}}).resolved())),
    )
    about = room.architecture({"mlp": {"hidden": 8}})
    examples = room.splits["validation"].take(slice(4)).inputs["inputs"]
    tags = {"tutelage.task": "image_classification", "tutelage.sweep": "a", "tutelage.trial": "t0001"}
    for name, architecture in (("same", about), ("turned", architecture_of(about["model"], names="9876543210"))):
        registry.register_student(run_of(store), written(tmp_path / name, architecture, examples, **tags), name)
    found = champion(Registration(name="same"), home, room)
    assert found is not None and found.name == "same version 1 (a/t0001)"
    with torch.inference_mode():
        assert torch.equal(found.model(examples), checkpoint.read(tmp_path / "same")[0](examples))
    with pytest.raises(InputError, match=r"another order: '9' stands where the data has '0': they cannot be compared"):
        champion(Registration(name="turned"), home, room)
    assert champion(Registration(name="turned", force=True), home, room) is None
    assert champion(Registration(name="new"), home, room) is None
    with pytest.raises(InputError, match="is not an alias"):
        champion(Registration(name="new", aliases=["v1"]), home, room)


@pytest.mark.usefixtures("unread")
def test_a_registered_name_of_another_task_is_an_error(store: tuple[str, str]) -> None:
    register(store, Model(0))
    with pytest.raises(InputError, match="belongs to task 'images', not 'tagging'"):
        register(store, Model(2), task="tagging")


def test_a_logged_model_with_other_logits_is_not_registered(store: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow.MlflowClient(tracking_uri=store[0], registry_uri=store[0])
    cases_of = read_back.cases_of

    def cases_of_another(_: nn.Module, signature: Signature, arguments: read_back.Arguments) -> list[read_back.Case]:
        return cases_of(Model(7).eval(), signature, arguments)

    with taken_as_read_back():
        register(store, Model(0))
    before = client.get_registered_model("student").aliases
    monkeypatch.setattr(read_back, "cases_of", cases_of_another)
    with pytest.raises(WorkFailed, match="was not registered"):
        register(store, Model(0))
    assert client.get_registered_model("student").aliases == before
    assert all(str(m.status) != "FAILED" for m in client.search_logged_models(["1"]))


def test_a_model_that_cannot_be_exported_leaves_no_logged_model(store: tuple[str, str], tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs if inputs.sum().item() > 0 else -inputs

    client = mlflow.MlflowClient(tracking_uri=store[0], registry_uri=store[0])
    before = len(client.search_logged_models(["1"]))
    with pytest.raises(WorkFailed, match="could not be logged"):
        register(store, Odd())
    assert len(client.search_logged_models(["1"])) == before
