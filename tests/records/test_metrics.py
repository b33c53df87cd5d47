"""The metrics that Prometheus reads: what the events of a sweep change in them, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import pytest
import yaml

from tests.dashboard.records import OBJECTIVES, Make, trials
from tests.scraping import GRAFANA, dashboard, free_port, samples_of, scraped, shown_metrics
from tutelage.errors import UnreachableError
from tutelage.objectives import Limits
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.live_front import LiveFront
from tutelage.records.metrics import Metrics
from tutelage.records.metrics_server import serving
from tutelage.records.observer import (
    Event,
    KnowledgeReady,
    StageStarted,
    SuggestionEnded,
    TrialPaused,
    TrialRetried,
    TrialStarted,
)
from tutelage.records.trial import TrialRecord
from tutelage.spec.search_sections import TrackingConfig


def new_metrics() -> Metrics:
    return Metrics("stored", SimpleNamespace(num_waiting=7, written_s=1.5), lambda: 0.25)  # type: ignore[arg-type]


def started(record: TrialRecord, at_s: float) -> TrialStarted:
    return TrialStarted(record=replace(record, state="running", measures={}), unix_time_s=at_s)


@pytest.fixture
def recorded(make_record: Make) -> list[Event]:
    """The events of a sweep of six trials, one of them a ladder of three; trial 4 had no worker, and number 6 runs."""
    front = LiveFront(objectives=OBJECTIVES, limits=Limits())
    events: list[Event] = [KnowledgeReady(num_cached=3, num_computed=2, num_bytes=4096), SuggestionEnded(elapsed_s=0.5)]
    for record in trials(make_record):
        if record.state != "infeasible":
            record = replace(record, started_s=102.0, elapsed_s=30.0, step_s=20.0)
            events.append(started(record, 100.0))
        events += front.enter(record)
    return [*events, started(make_record(6), 100.0), TrialRetried(trial_id="t0006")]


@pytest.fixture
def metrics(recorded: list[Event]) -> Metrics:
    found = new_metrics()
    for event in recorded:
        found(event)
    return found


def test_they_are_those_of_the_sweeps_events(metrics: Metrics) -> None:
    found = samples_of(metrics)
    states = {key[1]: value for key, value in found.items() if key[0] == "tutelage_candidates"}
    assert states == {
        "running": 1, "paused": 0, "front": 3, "dominated": 2, "stopped": 1, "failed": 1, "infeasible": 1,
    }  # fmt: skip
    ends = {key[1]: value for key, value in found.items() if key[0] == "tutelage_trials_total"}
    assert ends == {"finished": 3, "stopped": 1, "failed": 1, "infeasible": 1}
    phases = {key[1]: value for key, value in found.items() if key[0] == "tutelage_phase_seconds_total"}
    assert phases == {"suggest": 0.5, "start": 5 * 2.0, "train": 5 * 20.0, "measure": 5 * 10.0, "log": 1.5}
    assert found[("tutelage_front_size",)] == 3 and found[("tutelage_hypervolume",)] > 0
    assert found[("tutelage_retries_total",)] == 1
    assert [found[("tutelage_knowledge_views", source)] for source in ("cached", "computed")] == [3, 2]
    assert [found[(f"tutelage_{name}",)] for name in ("knowledge_bytes", "gpu_share", "spool_length")] == [4096, 0.25, 7]


def test_every_series_exists_before_the_first_event(metrics: Metrics) -> None:
    assert samples_of(new_metrics()).keys() == samples_of(metrics).keys()


def test_a_paused_trial_runs_again_when_it_is_continued(make_record: Make) -> None:
    metrics, record = new_metrics(), replace(make_record(0, "paused"), started_s=103.0)
    counts = []
    for event in (started(record, 100.0), TrialPaused(record=record), started(record, 200.0)):
        metrics(event)
        found = samples_of(metrics)
        counts.append([found[("tutelage_candidates", state)] for state in ("running", "paused")])
    assert counts == [[1, 0], [0, 1], [1, 0]]
    assert found[("tutelage_phase_seconds_total", "start")] == 3.0


def test_a_replayed_trial_is_a_candidate_and_not_a_result(make_record: Make) -> None:
    metrics, front = new_metrics(), LiveFront(objectives=OBJECTIVES, limits=Limits())
    for event in front.enter(replace(make_record(0, accuracy=0.9, params=10.0), step_s=5.0), is_replayed=True):
        metrics(event)
    found = samples_of(metrics)
    assert found[("tutelage_candidates", "front")] == found[("tutelage_front_size",)] == 1
    assert found[("tutelage_trials_total", "finished")] == found[("tutelage_phase_seconds_total", "train")] == 0


def test_a_trial_that_another_sweep_trained_counts_no_seconds(make_record: Make) -> None:
    metrics, front = new_metrics(), LiveFront(objectives=OBJECTIVES, limits=Limits())
    for event in front.enter(replace(make_record(0, accuracy=0.9, params=10.0), elapsed_s=9.0, step_s=5.0)):
        metrics(event)
    found = samples_of(metrics)
    assert found[("tutelage_trials_total", "finished")] == 1
    assert [found[("tutelage_phase_seconds_total", phase)] for phase in ("train", "measure")] == [0, 0]


@pytest.mark.slow
def test_they_are_served_until_the_sweep_ends(recorded: list[Event]) -> None:
    port, said = free_port(), list[Event]()
    events = Dispatcher()
    events.attach(said.append)
    with serving(new_metrics(), TrackingConfig(metrics_port=port), events):
        for event in recorded:
            events.send(event)
        assert scraped(port)[("tutelage_candidates", "front")] == 3
    with pytest.raises(OSError, match="refused"):
        scraped(port)
    assert isinstance(said[0], StageStarted) and f"http://127.0.0.1:{port}/metrics" in said[0].text


def test_nothing_is_served_without_a_port() -> None:
    events = Dispatcher()
    with serving(new_metrics(), TrackingConfig(), events):
        assert events._attached == []


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_port_in_use_is_an_error_that_names_it(taken_port: int) -> None:
    with (
        pytest.raises(UnreachableError, match=rf"metrics_port {taken_port}: .* in use\). Set another port") as caught,
        serving(new_metrics(), TrackingConfig(metrics_port=taken_port), Dispatcher()),
    ):
        pass
    assert caught.value.exit_code == 3


def test_an_address_that_is_none_of_this_machines_is_an_error() -> None:
    config = TrackingConfig(metrics_port=free_port(), metrics_host="no such host")
    with pytest.raises(UnreachableError, match="at no such host:"), serving(new_metrics(), config, Dispatcher()):
        pass


def test_the_dashboard_shows_every_metric_and_no_other(metrics: Metrics) -> None:
    assert shown_metrics() == {key[0] for key in samples_of(metrics)}


def test_the_dashboard_selects_by_labels_that_the_metrics_have(metrics: Metrics) -> None:
    names = {sample.name: set(sample.labels) for family in metrics.collect() for sample in family.samples}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            for name, chosen in re.findall(r"(tutelage_\w+)\{([^}]*)\}", target["expr"]):
                assert 'sweep=~"$sweep"' in chosen and set(re.findall(r"(\w+)=", chosen)) <= names[name]
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= names[name] | {"phase"}


def test_the_panels_of_the_dashboard_lie_side_by_side_with_titles_and_descriptions() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] and panel["type"] in ("stat", "timeseries") for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        apart = [
            one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at] for at, size in (("x", "w"), ("y", "h"))
        ]
        assert any(apart), (one, other)


def test_the_variables_of_the_dashboard_are_defined() -> None:
    document = dashboard()
    defined = {variable["name"] for variable in document["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(document["panels"])))
    assert used == defined == {"datasource", "sweep"}


def test_the_scrape_configuration_reads_the_port_that_the_page_sets() -> None:
    (job,) = yaml.safe_load((GRAFANA / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    page = (GRAFANA.parents[1] / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert f"metrics_port: {target.rpartition(':')[2]}" in page
