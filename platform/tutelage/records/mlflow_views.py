"""The pages that MLflow opens on without a click: "Pareto", all trials as charts, and "Front", its students as a table.

MLflow 3.15 and later keep a saved view as one tag of the experiment. The format is its user interface's own, so a version
that does not know it shows its usual page.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

CHARTS_ID, TABLE_ID = "tutelage-pareto", "tutelage-front"


TAG = "mlflow.sharedViewState."


MAX_TAG_CHARS = 20_000  # of an experiment's tag


SECTION = "tutelage-charts"


AUTOMATIC = ("quality", "size", "cost", "train", "front")


NUM_RUNS = 100  # that a chart shows, and a page of the table


CREATED_MS = 1_760_000_000_000


COLUMNS = (
    "tags.`pareto`", "metrics.`quality/accuracy`", "metrics.`size/params`", "metrics.`size/bytes`", "metrics.`cost/macs`",
    "metrics.`cost/latency_ms`",
)  # fmt: skip


def path(experiment_id: str) -> str:
    """Return the chart page's path below MLflow's address."""
    return f"/#/experiments/{experiment_id}/runs?compareRunsMode=CHART&viewStateShareKey={CHARTS_ID}"


def table_path(experiment_id: str) -> str:
    """Return the path of the front's table below MLflow's address."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={TABLE_ID}"


def tags(searched: Sequence[str]) -> dict[str, str]:
    """Return the views as tags, over the runs of all sweeps in the experiment; what is too long for a tag is left out."""
    views = {CHARTS_ID: _packed("Pareto", _charts(searched)), TABLE_ID: _packed("Front", _table(searched))}
    return {f"{TAG}{name}": value for name, value in views.items() if len(value) <= MAX_TAG_CHARS}


def _packed(name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": CREATED_MS, "updatedAt": CREATED_MS, "state": f"deflate;{packed}"})


def _charts(searched: Sequence[str]) -> dict[str, Any]:
    """Return the page of charts; without a filter, so that the teacher and the sweep with its hypervolume are there."""
    return {
        **_sorted_by("metrics.`quality/accuracy`", ascending=False, searched=searched),
        "searchFilter": "",
        "compareRunSections": [
            _section(SECTION, "Accuracy by size and cost", display=True),
            *(_section(f"tutelage-{prefix}", prefix, display=False) for prefix in AUTOMATIC),
        ],
        "compareRunCharts": [
            _scatter("size", "Size and accuracy", "size/log10_params"),
            _scatter("macs", "Multiply–accumulates and accuracy", "cost/log10_macs"),
            {
                **_card("hypervolume", "Hypervolume over trials", "LINE"),
                "metricKey": "front/hypervolume",
                "selectedMetricKeys": ["front/hypervolume"],
                "xAxisKey": "step",
                "useGlobalXaxisKey": False,
                "useGlobalLineSmoothing": False,
                "lineSmoothness": 0,
                "displayPoints": True,
            },
            {
                **_card("parallel", "Searched values", "PARALLEL"),
                "selectedParams": list(searched),
                "selectedMetrics": ["size/log10_params", "quality/accuracy"],
                "showAllRuns": True,
            },
        ],
    }


def _table(searched: Sequence[str]) -> dict[str, Any]:
    return {
        **_sorted_by("metrics.`size/bytes`", ascending=True, searched=searched),
        "searchFilter": "tags.pareto = 'front'",
    }


def _sorted_by(key: str, *, ascending: bool, searched: Sequence[str]) -> dict[str, Any]:
    return {
        "orderByKey": key,
        "orderByAsc": ascending,
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": [*COLUMNS, *(f"params.`{name}`" for name in searched)],
    }


def _section(uuid: str, name: str, *, display: bool) -> dict[str, Any]:
    """Return a section; those that MLflow makes itself, one a metric's prefix, are folded. MLflow sorts them by name."""
    return {
        "uuid": uuid, "name": name, "display": display, "isReordered": True, "deleted": False,
        "isGenerated": uuid != SECTION,
    }  # fmt: skip


def _scatter(uuid: str, title: str, metric: str) -> dict[str, Any]:
    return {
        **_card(uuid, title, "SCATTER"),
        "xaxis": {"key": metric, "type": "METRIC"},
        "yaxis": {"key": "quality/accuracy", "type": "METRIC"},
    }


def _card(uuid: str, title: str, kind: str) -> dict[str, Any]:
    return {
        "uuid": f"tutelage-{uuid}", "type": kind, "displayName": title, "metricSectionId": SECTION,
        "deleted": False, "isGenerated": False, "runsCountToCompare": NUM_RUNS,
    }  # fmt: skip
