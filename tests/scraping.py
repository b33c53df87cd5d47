"""The metrics of a sweep as Prometheus reads them, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

GRAFANA = Path(__file__).parents[1] / "dashboards" / "grafana"
Samples = dict[tuple[str, ...], float]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def scraped(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        return by_series(text_string_to_metric_families(response.read().decode()))


def by_series(families: Iterable[Metric]) -> Samples:
    """Return the value of each series by its name and the values of its labels, the sweep's left out."""
    return {
        (sample.name, *(value for label, value in sample.labels.items() if label != "sweep")): sample.value
        for family in families
        for sample in family.samples
    }


def samples_of(metrics: Collector) -> Samples:
    return by_series(metrics.collect())


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "tutelage.json").read_text(encoding="utf-8"))
    return found


def shown_metrics() -> set[str]:
    """Return the names of the metrics that the dashboard's panels show."""
    text = " ".join(target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])
    return set(re.findall(r"tutelage_\w+", text))
