"""What the explorer's page is answered, over a real MLflow store: sweeps, snapshots, candidates, and bad requests."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import pytest

from tests.dashboard.asgi import Answer, request
from tests.dashboard.records import Make, new_sweep, track, trials
from tutelage.dashboard import pages, promotion, reader
from tutelage.dashboard.pages import explorer
from tutelage.dashboard.reader import Reader
from tutelage.dashboard.settings import Settings
from tutelage.dashboard.snapshot import packed, snapshot_of
from tutelage.dashboard.snapshot_listener import log_from_ledger
from tutelage.records import mlflow_runs
from tutelage.records.mlflow_writer import SNAPSHOT
from tutelage.records.sweep_dir import SweepDir

pytestmark = pytest.mark.slow

SCRIPT = "</script><script>alert(1)</script>"


@pytest.fixture
def uri(mlflow_store: Callable[[Path], str], tmp_path: Path) -> str:
    return mlflow_store(tmp_path)


@pytest.fixture
def home(uri: str, tmp_path: Path, make_record: Make) -> SweepDir:
    """A finished sweep with its runs and its snapshot in MLflow."""
    found, records = new_sweep(tmp_path / "storage"), trials(make_record)
    for record in records:
        found.ledger.append(record)
    tracker = track(found, uri, records)
    tracker.flush()
    found.update(run_ids=tracker.run_ids, state="finished")
    log_from_ledger(found, tracker)
    tracker.finish("FINISHED")
    tracker.close()
    return found


def files_of(uri: str) -> reader.Artifact:
    def artifact(run_id: str, path: str) -> bytes | None:
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=uri)).read_bytes()
        except (OSError, mlflow.MlflowException):
            return None

    return artifact


def app_of(uri: str, artifact: reader.Artifact | None = None, **settings: Any) -> Any:
    return explorer(Reader(mlflow.MlflowClient(tracking_uri=uri), artifact or files_of(uri)), Settings(**settings))


def run_of(home: SweepDir) -> str:
    return str(home.facts()["run_id"])


def test_the_sweeps_of_a_store_are_listed(uri: str, home: SweepDir) -> None:
    (found,) = request(app_of(uri), "/api/sweeps").json()
    assert (found["name"], found["run_id"], found["state"]) == ("stored", run_of(home), "finished")
    assert found["n"] == 8


def test_every_sweep_is_listed_the_newest_first(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_runs, "PAGE", 2)
    client = mlflow.MlflowClient(tracking_uri=uri)
    for number in range(5):
        experiment = client.create_experiment(f"experiment {number}")
        client.create_run(experiment, start_time=number + 1, tags={"stage": "sweep", "sweep": f"sweep {number}"})
    found = request(app_of(uri), "/api/sweeps").json()
    assert [one["name"] for one in found] == [f"sweep {number}" for number in (4, 3, 2, 1, 0)]
    assert [one["n"] for one in found] == [None] * 5


def test_a_store_without_a_sweep_has_an_empty_list(uri: str) -> None:
    assert request(app_of(uri), "/api/sweeps").json() == []


def test_a_snapshot_is_the_artifact_of_the_sweeps_run(uri: str, home: SweepDir) -> None:
    url = f"/api/sweeps/{run_of(home)}/snapshot"
    answer = request(app_of(uri), url, accept_encoding="gzip, br")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.body == files_of(uri)(run_of(home), SNAPSHOT)
    plain = request(app_of(uri), url)
    assert "content-encoding" not in plain.headers, "such as curl's, which would print the bytes"
    assert json.loads(plain.body) == answer.json()
    assert answer.json()["n"] == 8
    again = request(app_of(uri), f"/api/sweeps/{run_of(home)}/snapshot", if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_a_live_page_gets_what_it_lacks(uri: str, home: SweepDir) -> None:
    app, url = app_of(uri), f"/api/sweeps/{run_of(home)}/snapshot"
    whole = request(app, url).json()
    part = request(app, f"{url}?since=6&revision={whole['revision']}").json()
    assert (part["since"], part["id"]) == (6, whole["id"][6:])
    again = request(app, f"{url}?since=6&revision=another")
    assert (again.json(), again.body) == (whole, request(app, url).body), "the whole is sent as it is stored"
    for since in ("%C2%B2", "9" * 5000):
        assert request(app, f"{url}?since={since}&revision={whole['revision']}").json() == whole


def test_without_a_snapshot_the_sweep_is_read_from_its_runs(uri: str, home: SweepDir) -> None:
    url = f"/api/sweeps/{run_of(home)}/snapshot"
    found, whole = request(app_of(uri, lambda *_: None), url).json(), request(app_of(uri), url).json()
    assert "has no snapshot" in found["sweep"]["notes"][0]
    by_name = dict(zip(whole["id"], range(8), strict=True))
    order = [by_name[name] for name in found["id"]]
    for name in ("run_id", "state", "is_feasible", "is_on_front"):
        assert found[name] == [whole[name][row] for row in order], name
    for name in ("accuracy", "params"):
        assert found["values"][name] == [whole["values"][name][row] for row in order]
    assert found["sweep"]["objectives"] == ["accuracy", "params"]
    assert [name for name, measure in found["measures"].items() if measure["direction"] == "maximise"] == ["accuracy"]


@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_snapshot_cut_short_is_replaced_by_the_runs(uri: str, home: SweepDir, length: int) -> None:
    data = packed(snapshot_of(home))
    found = request(app_of(uri, lambda *_: data[:length]), f"/api/sweeps/{run_of(home)}/snapshot").json()
    assert found["n"] == 8
    assert "damaged" in found["sweep"]["notes"][0]


def test_a_sweep_in_progress_without_an_ended_trial_is_empty(uri: str, tmp_path: Path) -> None:
    home = new_sweep(tmp_path / "storage")
    track(home, uri, []).close()
    for artifact in (None, lambda *_: packed(snapshot_of(home))):
        found = request(app_of(uri, artifact), f"/api/sweeps/{run_of(home)}/snapshot").json()
        assert (found["n"], found["id"], found["sweep"]["state"]) == (0, [], "running")


def test_a_deleted_sweep_is_an_error_with_a_way_out(uri: str, home: SweepDir) -> None:
    mlflow.MlflowClient(tracking_uri=uri).delete_run(run_of(home))
    answer = request(app_of(uri), f"/api/sweeps/{run_of(home)}/snapshot")
    assert answer.status == 404
    assert "deleted" in answer.json()["error"]["why"]
    assert "restore" in answer.json()["error"]["way_out"]
    assert request(app_of(uri), "/api/sweeps").json() == []


@pytest.mark.parametrize("run_id", ["nope", "0" * 32, SCRIPT.replace("/", "%2F"), "..%2F.."])
def test_an_unknown_sweep_is_not_found(uri: str, run_id: str) -> None:
    answer = request(app_of(uri), f"/api/sweeps/{run_id}/snapshot")
    assert answer.status == 404
    assert set(answer.json()["error"]) == {"what", "why", "way_out"}
    assert answer.headers["content-type"] == "application/json"


def test_an_mlflow_that_is_away_is_an_error_until_it_is_back(uri: str, home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FRESH_S", 0.0)
    app, url = app_of(uri), f"/api/sweeps/{run_of(home)}/snapshot"
    with monkeypatch.context() as away:

        def no_answer(*_: Any, **__: Any) -> None:
            raise mlflow.MlflowException("connection refused by http://user:secret@host")

        away.setattr(mlflow.MlflowClient, "get_run", no_answer)
        answer = request(app, url)
    assert (answer.status, request(app, url).status) == (503, 200)
    assert "connection refused" in answer.json()["error"]["why"]
    assert "secret" not in answer.body.decode()


def test_script_tags_in_names_and_tags_stay_text(uri: str, home: SweepDir) -> None:
    client = mlflow.MlflowClient(tracking_uri=uri)
    for key in ("sweep", "mlflow.runName", "note"):
        client.set_tag(run_of(home), key, SCRIPT)
    client.set_tag(home.facts()["run_ids"]["t0001"], "note", SCRIPT)
    app = app_of(uri)
    for url in ("/api/sweeps", f"/api/sweeps/{run_of(home)}/snapshot", f"/api/sweeps/{run_of(home)}/candidates/t0001"):
        answer = request(app, url)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert request(app, "/api/sweeps").json()[0]["name"] == SCRIPT
    assert "script-src" not in pages.SAFE["Content-Security-Policy"], "default-src 'self' forbids scripts in the page"


def test_a_candidate_has_its_curves_settings_and_lineage(uri: str, home: SweepDir) -> None:
    found = request(app_of(uri), f"/api/sweeps/{run_of(home)}/candidates/t0001").json()
    assert found["curves"] == {"train_loss": [[1, 1.0], [2, 0.5]], "accuracy": [[1, 0.3], [2, 0.6]]}
    assert found["settings"]["distillation.temperature"] == "2.0"
    assert ["sweep", "stored"] in found["lineage"]
    assert "tutelage sweep spec.yaml" in found["command"]
    failed = request(app_of(uri), f"/api/sweeps/{run_of(home)}/candidates/t0003").json()
    assert failed["error"] == "ValueError: no"
    assert request(app_of(uri), f"/api/sweeps/{run_of(home)}/candidates/t9999").status == 404


def test_runs_of_others_are_a_front_of_two_metrics(uri: str) -> None:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("others")
    parent = client.create_run(experiment, run_name="grid").info.run_id
    for number, (share, loss) in enumerate([(0.9, 0.5), (0.8, 0.6), (0.95, 0.7)]):
        run_id = client.create_run(experiment, tags={"mlflow.parentRunId": parent}, run_name="same").info.run_id
        for key, value in (("val/Acc", share), ("val/loss", loss), ("val/loss", loss)):
            client.log_metric(run_id, key, value, step=number)
        client.log_param(run_id, "lr", 10.0**-number)
        client.set_terminated(run_id, end_time=number + 1)
    found = request(app_of(uri), f"/api/sweeps/{parent}/snapshot").json()
    assert found["sweep"]["objectives"] == ["val_acc", "val_loss"]
    assert found["is_on_front"] == [True, False, True]
    assert found["config"]["lr"]["values"] == [1.0, 0.1, 0.01]
    assert len(set(found["id"])) == 3


def test_a_run_of_others_is_found_by_any_name(uri: str) -> None:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("others")
    parent = client.create_run(experiment, run_name="grid").info.run_id
    name = "lr=0.1/decay?#%2F é"
    run_id = client.create_run(experiment, tags={"mlflow.parentRunId": parent}, run_name=name).info.run_id
    client.log_metric(run_id, "loss", 1.0)
    client.set_terminated(run_id)
    app = app_of(uri)
    assert request(app, f"/api/sweeps/{parent}/snapshot").json()["id"] == [name]
    found = request(app, f"/api/sweeps/{parent}/candidates/{quote(name, safe='')}")
    assert (found.status, found.json()["run_id"]) == (200, run_id)


def test_a_promotion_is_off_unless_it_is_allowed_and_has_the_token(uri: str, home: SweepDir) -> None:
    url, body = f"/api/sweeps/{run_of(home)}/promote", {"id": "t0001", "model": "m"}
    off = app_of(uri, token="abc")
    assert request(off, url, "POST", body, x_tutelage_token="abc").status == 403
    assert request(off, "/api/session").json()["can_promote"] is False
    on = app_of(uri, token="abc", can_promote=True, storage=str(home.storage.uri))
    assert request(on, "/api/session").json()["can_promote"] is True
    assert request(on, url, "POST", body).status == 401
    assert request(on, url, "POST", body, x_tutelage_token="abd").status == 401
    assert request(on, url, "POST", body, cookie="tutelage_token=abc").status == 401, "another site's form sends cookies"
    answer = request(on, url, "POST", body, x_tutelage_token="abc")
    assert (answer.status, answer.json()["error"]["what"]) == (409, "t0001 is not on the front.")


def test_a_promotion_is_of_the_run_that_was_asked_for_whatever_its_snapshot_says(
    uri: str, home: SweepDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = snapshot_of(home)
    document["sweep"]["run_id"] = "of another sweep"
    (name,) = [document["id"][row] for row in range(8) if document["is_on_front"][row]][:1]
    selected: list[str] = []
    monkeypatch.setattr(promotion, "_selected", lambda sweep, *_: selected.append(sweep) or {})
    app = app_of(uri, lambda *_: packed(document), token="abc", can_promote=True, storage=str(home.storage.uri))
    url, body = f"/api/sweeps/{run_of(home)}/promote", {"id": name, "model": "m"}
    assert request(app, url, "POST", body, x_tutelage_token="abc").status == 200
    assert selected == ["stored"]


def test_names_that_are_no_text_are_answered(uri: str, home: SweepDir) -> None:
    document = snapshot_of(home)
    document["sweep"]["name"] = document["id"][7] = "half a pair \ud800"
    url = f"/api/sweeps/{run_of(home)}/snapshot"
    part = request(app_of(uri, lambda *_: packed(document)), f"{url}?since=6&revision={document['revision']}").json()
    assert part["id"] == document["id"][6:] and part["sweep"]["name"] == document["sweep"]["name"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id": 1, "model": "m"}',
        b'{"id": "t", "model": "--force"}',
        b"{" * 9999,
        b'{"id": "t", "model": "a\\u0000b"}',
        b'{"id": "t", "model": "\\ud800"}',
    ],
)
def test_a_body_that_is_no_promotion_is_an_error(uri: str, home: SweepDir, body: bytes) -> None:
    app = app_of(uri, token="abc", can_promote=True, storage=str(home.storage.uri))
    assert request(app, f"/api/sweeps/{run_of(home)}/promote", "POST", body, x_tutelage_token="abc").status == 400


def test_other_pages_are_not_found(uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert request(app_of(uri), "/api/sweeps", "DELETE").status in (404, 405)
    for built in (False, True):
        monkeypatch.setattr(pages, "STATIC", tmp_path)
        if built:
            (tmp_path / "index.html").write_text("<p>the explorer")
        first = request(app_of(uri), "/")
        assert (first.status, ("is not built" in first.body.decode())) == (200, not built)
        assert first.headers["cache-control"] == "no-cache"
        assert request(app_of(uri), "/no/such/file.js").status == 404
        assert request(app_of(uri), "/../pages.py").status == 404


def test_a_web_socket_is_closed(uri: str) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    for path in ("/", "/api/sweeps", "/assets/explorer.js"):
        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "headers": [],
            "query_string": b"",
        }
        asyncio.run(app_of(uri)(scope, receive, send))
    assert sent == ["websocket.close"] * 3


def test_an_error_of_the_explorer_is_an_answer(uri: str, home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Reader) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Reader, "sweeps", broken)
    with pytest.raises(ZeroDivisionError):  # for the server's log
        request(app_of(uri), "/api/sweeps")


def test_a_snapshot_is_answered_as_it_is_stored(tmp_path: Path, uri: str, home: SweepDir) -> None:
    from tests.benchmarks.synthetic_snapshot import snapshot

    data = packed(snapshot(2_000))
    app, url = app_of(uri, lambda *_: data), f"/api/sweeps/{run_of(home)}/snapshot"
    started_s = time.thread_time()
    answer = request(app, url, accept_encoding="gzip")
    assert isinstance(answer, Answer) and answer.body == data
    assert time.thread_time() - started_s < 0.2
    assert len(data) < 250_000
    assert json.loads(json.dumps(answer.json()))["n"] == 2_000
