"""A password in a spec is in no file of its sweep, and a sweep that goes on gets it from the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stored_sweep import TEACHER, spec_tree
from tutelage.errors import UnreachableError
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.mlflow_format import fit_params, fit_tags
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.redaction import HIDDEN
from tutelage.report import sweep_page
from tutelage.spec.loading import from_dict, tracking_uri, whole_uri
from tutelage.spec.yaml_lines import dump
from tutelage.sweep.extension import address_of, check_extends

PASSWORD = "p@ss/w0rd"
URI = f"postgresql+psycopg://me:{PASSWORD}@host/mlflow"


@pytest.fixture
def home(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> SweepDir:
    spec = from_dict({**spec_tree(tmp_path, "secret"), "tracking": {"uri": URI}})
    made = sweeps.create(tmp_path, "secret", dump(spec.kept()))
    made.update(error=f"cannot reach {URI}", teacher=TEACHER, objectives=[objective("accuracy").document()], fingerprint="f")
    made.ledger.append(make_record(0, accuracy=0.9, params=10.0))
    made.ledger.append(make_record(1, "failed", f"Error: token={PASSWORD}"))
    return made


def test_no_file_of_a_sweep_has_the_password_of_its_spec(home: SweepDir) -> None:
    sweep_page.write_report(home)
    files = [path for path in home.files.local_path("").rglob("*") if path.is_file()]
    assert {"spec.yaml", "events.jsonl", "trials.jsonl", "report.html"} <= {path.name for path in files}
    assert not [path.name for path in files if PASSWORD in path.read_text()]
    assert HIDDEN in home.spec_path.read_text() and HIDDEN in home.facts()["error"]


def test_a_resumed_sweep_takes_the_password_from_the_environment_or_its_spec(
    home: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UnreachableError, match="MLFLOW_TRACKING_URI"):
        _ = home.tracking_uri
    given = from_dict({**spec_tree(home.storage.uri, "secret"), "tracking": {"uri": URI}})
    check_extends(home.spec(), given)
    assert address_of(home.spec()) == address_of(given)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    with pytest.raises(UnreachableError):
        tracking_uri(home.spec())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URI)
    assert home.tracking_uri == tracking_uri(home.spec()) == URI
    assert home.shown_tracking_uri == f"postgresql+psycopg://{HIDDEN}@host/mlflow"


def test_a_servers_credentials_may_be_in_mlflows_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = f"https://{HIDDEN}@mlflow.example.org"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    assert whole_uri(kept) == "https://mlflow.example.org"
    with pytest.raises(UnreachableError):
        whole_uri(f"postgresql://{HIDDEN}@host/db")
    assert whole_uri("sqlite:///a.db") == "sqlite:///a.db"


def test_params_and_tags_hide_secrets_by_their_keys_and_keep_the_rest_as_it_is() -> None:
    values = {"data": {"mine:read": {"token": "abc", "size": (1, 2)}}, "api_key": "abc", "rate": 0.5}
    for fit in (fit_params, fit_tags):
        assert fit(values) == {
            "data": f"{{'mine:read': {{'token': '{HIDDEN}', 'size': (1, 2)}}}}", "api_key": HIDDEN, "rate": "0.5"
        }  # fmt: skip
