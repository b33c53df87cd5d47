"""Which MLflow `tutelage dashboard` serves, and how its address is opened."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path

import pytest

from tests.dashboard.records import new_sweep, tree
from tutelage.dashboard import serving
from tutelage.errors import InputError
from tutelage.records import sweeps
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump


def test_a_store_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    storage, typo = str(tmp_path / "storage"), f"sqlite:///{tmp_path / 'typo.db'}"
    with pytest.raises(InputError, match=r"no sweep was run in .*tutelage sweep SPEC"):
        serving.find(storage, None, None)
    home = new_sweep(Path(storage))
    for name, uri, said in (
        (None, typo, "--tracking-uri names it"), ("stored", typo, "--tracking-uri names it"),
        ("stored", None, "`tutelage track stored --storage"), ("run", None, "`tutelage track stored --storage"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            serving.find(storage, name, uri)
    assert not list(tmp_path.rglob("*.db"))
    home.storage.put("mlflow.db", b"")
    assert serving.find(storage, "stored", None) == serving.Address(uri=home.tracking_uri, run_id="run")


def test_sweeps_of_another_mlflow_are_found_by_their_names(tmp_path: Path) -> None:
    spec = {**tree(tmp_path), "tracking": {"uri": "http://mlflow.example:5000"}}
    sweeps.create(tmp_path, "stored", dump(from_dict(spec).resolved()))
    with pytest.raises(InputError, match=r"tracked elsewhere.*tutelage dashboard stored"):
        serving.find(str(tmp_path), None, None)
    assert serving.find(str(tmp_path), "stored", None).uri == "http://mlflow.example:5000"


def test_a_browser_that_waits_for_its_page_does_not_hold_up_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in the terminal returns when it is closed, and until then nothing would be served to it."""
    is_serving, opened, waited = threading.Event(), threading.Event(), list[bool]()

    def in_terminal(url: str) -> None:
        waited.append(is_serving.wait(10))
        opened.set()

    monkeypatch.setattr(webbrowser, "open", in_terminal)
    serving.open_browser("http://127.0.0.1:5080/tutelage/")
    is_serving.set()
    assert opened.wait(60)
    assert waited == [True]
