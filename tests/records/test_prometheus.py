"""The queries of the Grafana dashboard and the alerts, in a real Prometheus."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.records.test_metrics import new_metrics, recorded
from tests.requirements import needs
from tests.scraping import GRAFANA, dashboard, free_port
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.metrics_server import serving
from tutelage.records.observer import Event
from tutelage.spec.search_sections import TrackingConfig

__all__ = ["recorded"]  # a fixture
pytestmark = [pytest.mark.slow, needs(shutil.which("prometheus"), "Prometheus on this machine: apt-get install prometheus")]
WAIT_S = 120.0
RULES = {rule["alert"]: rule for rule in yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]}


class Prometheus:
    """A Prometheus with our configuration, but for the port that it reads and how often."""

    def __init__(self, folder: Path, metrics_port: int) -> None:
        text = (GRAFANA / "prometheus.yaml").read_text(encoding="utf-8")
        (folder / "prometheus.yaml").write_text(text.replace("9464", str(metrics_port)).replace("15s", "200ms"))
        shutil.copy(GRAFANA / "alerts.yaml", folder)
        self._address = f"127.0.0.1:{free_port()}"
        command = ["prometheus", "--config.file", str(folder / "prometheus.yaml"), "--storage.tsdb.path", str(folder / "data"),
                   "--web.listen-address", self._address, "--log.level", "error"]  # fmt: skip
        self._process = subprocess.Popen(command)

    def reply(self, path: str, **query: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=WAIT_S) as response:
            return json.load(response)["data"]

    def values(self, query: str) -> list[float]:
        """Return the value of each series that a query of the dashboard finds, of all sweeps."""
        filled = query.replace("$sweep", ".*").replace("$__rate_interval", "1m")
        return [float(one["value"][1]) for one in self.reply("query", query=filled)["result"]]

    def wait(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            assert self._process.poll() is None, "Prometheus has ended"
            try:
                if is_so():
                    return
            except OSError:  # it starts
                pass
            time.sleep(0.1)
        raise TimeoutError

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


@pytest.fixture
def watching(tmp_path: Path, recorded: list[Event]) -> Iterator[Prometheus]:
    """A Prometheus that has read the metrics of a sweep at its start and at its end."""
    port, events = free_port(), Dispatcher()
    with serving(new_metrics(), TrackingConfig(metrics_port=port), events):
        found = Prometheus(tmp_path, port)
        try:
            for sent, count in (([], 0), (recorded, 6)):
                for event in sent:
                    events.send(event)
                found.wait(lambda count=count: sum(found.values("tutelage_trials_total") or [-1]) == count)  # type: ignore[misc]
            yield found
        finally:
            found.stop()


def test_every_panel_has_values_and_no_alert_fires_for_a_sweep_that_is_well(watching: Prometheus) -> None:
    def unfilled() -> list[str]:
        queries = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
        return [query for query in queries if not any(map(math.isfinite, watching.values(query)))]

    watching.wait(lambda: unfilled() == [])  # a rate needs two readings after the trials have ended
    (variable,) = [one for one in dashboard()["templating"]["list"] if one["type"] == "query"]
    assert variable["query"]["query"] == "label_values(tutelage_candidates, sweep)"
    assert watching.reply("label/sweep/values", **{"match[]": "tutelage_candidates"}) == ["stored"]
    watching.wait(lambda: all(rule["health"] != "unknown" for rule in watching.reply("rules")["groups"][0]["rules"]))
    (group,) = watching.reply("rules")["groups"]
    assert {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]} == dict.fromkeys(
        RULES, ("ok", "inactive")
    )


TROUBLE = {  # series of an hour and a half, a value a minute; and what the alert says
    "TutelageNoResults": (
        {'tutelage_trials_total{state="finished"': "5x90", 'tutelage_candidates{state="running"': "2x90"},
        "No trial of digits has ended for an hour, and some are running",
    ),
    "TutelageTrialsFail": (
        {'tutelage_trials_total{state="finished"': "0+1x90", 'tutelage_trials_total{state="failed"': "0+3x90"},
        "75% of the trials of digits that ended in the last hour have failed",
    ),
    "TutelageWorkersLost": (
        {'tutelage_retries_total{job="tutelage"': "0+1x90"},
        "digits has lost 60 workers in an hour; their trials continue elsewhere",
    ),
    "TutelageMlflowAway": (
        {'tutelage_spool_length{job="tutelage"': "200x90"},
        "200 entries of digits wait for MLflow; nothing is lost while they wait",
    ),
}


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_fires_when_it_should_and_says_so(alert: str, tmp_path: Path) -> None:
    given, summary = TROUBLE[alert]
    labels = {"sweep": "digits", **({"job": "tutelage"} if "job" in str(given) else {})}
    expected = {"exp_labels": labels, "exp_annotations": {"summary": summary}}
    check_alert(tmp_path, given, {"eval_time": "90m", "alertname": alert, "exp_alerts": [expected]})


def test_a_sweep_may_train_its_first_student_for_an_hour(tmp_path: Path) -> None:
    given, _ = TROUBLE["TutelageNoResults"]
    started = {name: values.replace("5x", "0x") for name, values in given.items()}
    check_alert(tmp_path, started, {"eval_time": "50m", "alertname": "TutelageNoResults", "exp_alerts": []})


def check_alert(tmp_path: Path, given: dict[str, str], rule: dict[str, Any]) -> None:
    """Fail if promtool finds that an alert is not as expected, by series whose names lack the label of the sweep."""
    series = [{"series": f'{name}, sweep="digits"}}', "values": values} for name, values in given.items()]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": [rule]}]
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(GRAFANA / "alerts.yaml")], "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
