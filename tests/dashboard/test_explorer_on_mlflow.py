"""The explorer in MLflow's own server, in Chromium: a sweep that runs, MLflow gone and back, and what bad input gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.browser import chromium
from tests.dashboard.records import Make, events_of, new_sweep, track, trials
from tests.end_to_end.explored import WAIT_MS, opened
from tests.mlflow_server import MlflowServer
from tests.requirements import needs_chromium
from tutelage.dashboard import snapshot_listener
from tutelage.dashboard.snapshot import packed
from tutelage.dashboard.snapshot_listener import SnapshotListener
from tutelage.records.mlflow_writer import SNAPSHOT
from tutelage.records.observer import EpochEnded, Event, SweepEnded, TrialStarted

pytestmark = [pytest.mark.browser, needs_chromium]
HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def server(mlflow_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("served")
    server = MlflowServer(mlflow_store(folder), folder, "--app-name", "tutelage")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(WAIT_MS) as browser:
        yield browser


@pytest.fixture
def page(browser: Any, server: MlflowServer) -> Iterator[Any]:
    with opened(browser) as page:
        yield page


@pytest.fixture
def client(server: MlflowServer) -> MlflowClient:
    return MlflowClient(tracking_uri=server.uri)


@pytest.fixture
def show(server: MlflowServer, page: Any) -> Callable[..., None]:
    """Open the page at a sweep's run, which need not be there."""
    return lambda run_id, view="": page.goto(f"{server.uri}/tutelage/#sweep={run_id}{view}")


def test_a_store_without_sweeps_says_how_to_start_one(server: MlflowServer, page: Any) -> None:
    from playwright.sync_api import expect

    page.goto(f"{server.uri}/tutelage/")
    expect(page.get_by_role("alert")).to_contain_text("This store has no sweep yet. Start one with “tutelage sweep”")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event is followed by a snapshot."""
    monkeypatch.setattr(snapshot_listener, "GAP_S", 0.0)
    monkeypatch.setattr(snapshot_listener, "SHARE", 1e9)


class Live:
    """A sweep that runs: its events are written to MLflow as the driver writes them."""

    def __init__(self, server: MlflowServer, storage: Path) -> None:
        self.home = new_sweep(storage)
        self._tracker = track(self.home, server.uri, [])
        self._listener = SnapshotListener(self.home, self._tracker)

    @property
    def run_id(self) -> str:
        return str(self.home.facts()["run_id"])

    def emit(self, *events: Event) -> None:
        for event in events:
            self._listener(event)
        assert self._tracker.flush()

    def end(self, make_record: Make) -> None:
        for record in trials(make_record):
            self.home.ledger.append(record)
        self.home.update(state="finished")
        self.emit(SweepEnded(sweep="stored", state="finished"))
        self._tracker.close()


@pytest.mark.usefixtures("at_once")
def test_a_running_sweep_is_followed_while_mlflow_goes_and_comes_back(
    server: MlflowServer, client: MlflowClient, page: Any, show: Any, make_record: Make, tmp_path: Path
) -> None:
    """It begins without a candidate; what is focused and opened stays, and only what has changed is drawn."""
    from playwright.sync_api import expect

    live, alert = Live(server, tmp_path / "storage"), page.get_by_role("alert")
    show(live.run_id)
    expect(alert).to_contain_text("This sweep has no candidate yet.")
    live.emit(TrialStarted(record=make_record(1, "running")), EpochEnded(trial_id="t0001", row={"epoch": 2.0, "accuracy": 0.5}))
    page.reload()
    expect(page.locator(".facts")).to_contain_text("0 candidates of 8 trials · seed 0 · t0001 trains, epoch 2, 0.500")
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#live")).to_contain_text("No candidate is on the front")

    records = trials(make_record)
    live.emit(*events_of(records[:2], live.home))
    expect(page.locator("#live")).to_have_text("4 more candidates, 3 on the front")
    page.locator("tr[data-row]", has_text="t0000.1").click()
    page.locator("tr[data-row]").first.evaluate("(line) => { line.isOurs = true; line.focus(); }")
    pictures = "performance.getEntriesByName('explorer:picture').length"
    before = page.evaluate(pictures)
    page.wait_for_timeout(3500)  # one look at the server, which has nothing new
    assert page.evaluate(pictures) == before

    live.emit(*events_of(records, live.home)[2:])
    expect(page.locator(".facts")).to_contain_text("8 candidates")
    assert page.evaluate("document.activeElement.isOurs"), "the line is the same one and keeps the focus"
    expect(page.locator("#card-title")).to_have_text("t0000.1")
    assert page.evaluate(pictures) > before

    server.kill()
    expect(alert).to_contain_text("The server does not reply")
    server.start()
    expect(alert).to_be_hidden()
    live.end(make_record)
    expect(page.locator(".state")).to_have_text("finished")
    client.delete_run(live.run_id)
    page.wait_for_timeout(1100)  # a snapshot is kept for a second
    page.reload()
    expect(alert).to_contain_text("It was deleted in MLflow. Choose another sweep.")
    show("0" * 32)
    expect(alert).to_contain_text("MLflow does not have it")


def logged(client: MlflowClient, name: str, *children: dict[str, Any]) -> str:
    """Write a sweep's run and those of its trials as any program may; return the run's id."""
    experiment = client.get_experiment_by_name("foreign")
    place = experiment.experiment_id if experiment else client.create_experiment("foreign")
    parent = client.create_run(place, run_name=name, tags={"stage": "sweep", "sweep": name}).info.run_id
    for number, child in enumerate(children):
        tags = {"mlflow.parentRunId": parent, "trial_id": f"{name}{number}", **child["tags"]}
        run = client.create_run(place, run_name=name, tags=tags).info.run_id
        for key, value in child["metrics"].items():
            client.log_metric(run, key, value)
        for key, value in child["params"].items():
            client.log_param(run, key, value)
        client.set_terminated(run)
    client.set_terminated(parent)
    return str(parent)


CHILDREN = [
    {"metrics": {"quality/accuracy": 0.9 - 0.1 * number, "size/params": 900.0 - 100 * number},
     "params": {"student.width": HOSTILE if number else "8"}, "tags": {"error": HOSTILE, "note": HOSTILE}}
    for number in range(3)
]  # fmt: skip


def test_hostile_names_tags_and_params_are_shown_as_text(page: Any, show: Any, client: MlflowClient) -> None:
    from playwright.sync_api import expect

    show(logged(client, HOSTILE, *CHILDREN))
    expect(page.locator(".notes")).to_contain_text("it was read from its runs in MLflow")
    expect(page.locator("h1 select option:checked")).to_have_text(HOSTILE)
    page.locator(".stage").focus()
    page.keyboard.press("End")
    expect(page.locator("#card-title")).to_contain_text("<script>")
    expect(page.locator(".candidate-card")).to_contain_text("Error")
    page.locator("#slices-title").scroll_into_view_if_needed()
    expect(page.locator(".slice").first).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img[src], main script").count() == 0


def test_a_snapshot_cut_short_is_said_and_the_runs_are_read(
    page: Any, show: Any, client: MlflowClient, tmp_path: Path
) -> None:  # fmt: skip
    from playwright.sync_api import expect

    run_id = logged(client, "cut", *CHILDREN)
    whole = packed({"format": 1, "n": 3, "id": ["a", "b", "c"]})
    (tmp_path / Path(SNAPSHOT).name).write_bytes(whole[: len(whole) // 2])
    client.log_artifact(run_id, str(tmp_path / Path(SNAPSHOT).name), Path(SNAPSHOT).parent.as_posix())
    show(run_id)
    expect(page.locator(".notes")).to_contain_text("The snapshot of this sweep is damaged")
    expect(page.locator("figcaption").first).to_contain_text("3 candidates")
    assert page.locator("tr[data-row]").count() == 3


def test_a_sweep_without_a_candidate_is_said_until_it_has_one(page: Any, show: Any, client: MlflowClient) -> None:
    from playwright.sync_api import expect

    show(logged(client, "empty"))
    expect(page.get_by_role("alert")).to_contain_text("This sweep has no candidate yet.")
