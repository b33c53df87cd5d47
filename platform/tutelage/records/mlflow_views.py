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

from tutelage.measure import Measure

CHARTS_ID, TABLE_ID = "tutelage-pareto", "tutelage-front"


TAG = "mlflow.sharedViewState."


MAX_TAG_CHARS = 20_000  # of an experiment's tag


SECTION = "tutelage-charts"


AUTOMATIC = ("quality", "size", "cost", "train", "front")


NUM_RUNS = 100  # that a chart shows, and a page of the table


CREATED_MS = 1_760_000_000_000


COSTS = ("size/params", "size/bytes", "cost/macs", "cost/latency_ms")  # columns of the front's table


def path(experiment_id: str) -> str:
    """Return the chart page's path below MLflow's address."""
    return f"/#/experiments/{experiment_id}/runs?compareRunsMode=CHART&viewStateShareKey={CHARTS_ID}"


def table_path(experiment_id: str) -> str:
    """Return the path of the front's table below MLflow's address."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={TABLE_ID}"


def tags(searched: Sequence[str], primary: Measure) -> dict[str, str]:
    """Return the views as tags, over the runs of all sweeps in the experiment; what is too long for a tag is left out.

    `primary` is the height of the charts.
    """
    views = {
        CHARTS_ID: _packed("Pareto", _charts(searched, primary)), TABLE_ID: _packed("Front", _table(searched, primary))
    }  # fmt: skip
    return {f"{TAG}{name}": value for name, value in views.items() if len(value) <= MAX_TAG_CHARS}


def _packed(name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": CREATED_MS, "updatedAt": CREATED_MS, "state": f"deflate;{packed}"})


def _charts(searched: Sequence[str], primary: Measure) -> dict[str, Any]:
    """Return the page of charts; without a filter, so that the teacher and the sweep with its hypervolume are there."""
    return {
        **_sorted_by(primary.mlflow_key, ascending=primary.direction == "minimise", searched=searched, primary=primary),
        "searchFilter": "",
        "compareRunSections": [
            _section(SECTION, f"{_heading(primary)} by size and cost", display=True),
            *(_section(f"tutelage-{prefix}", prefix, display=False) for prefix in AUTOMATIC),
        ],
        "compareRunCharts": [
            _scatter("size", f"Size and {primary.label}", "size/log10_params", primary),
            _scatter("macs", f"Multiply–accumulates and {primary.label}", "cost/log10_macs", primary),
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
                "selectedMetrics": ["size/log10_params", primary.mlflow_key],
                "showAllRuns": True,
            },
        ],
    }


def _heading(primary: Measure) -> str:
    return primary.label[:1].upper() + primary.label[1:]


def _table(searched: Sequence[str], primary: Measure) -> dict[str, Any]:
    return {
        **_sorted_by("size/bytes", ascending=True, searched=searched, primary=primary),
        "searchFilter": "tags.pareto = 'front'",
    }


def _sorted_by(key: str, *, ascending: bool, searched: Sequence[str], primary: Measure) -> dict[str, Any]:
    columns = [f"metrics.`{column}`" for column in (primary.mlflow_key, *COSTS)]
    return {
        "orderByKey": f"metrics.`{key}`",
        "orderByAsc": ascending,
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": ["tags.`pareto`", *columns, *(f"params.`{name}`" for name in searched)],
    }


def _section(uuid: str, name: str, *, display: bool) -> dict[str, Any]:
    """Return a section; those that MLflow makes itself, one a metric's prefix, are folded. MLflow sorts them by name."""
    return {
        "uuid": uuid, "name": name, "display": display, "isReordered": True, "deleted": False,
        "isGenerated": uuid != SECTION,
    }  # fmt: skip


def _scatter(uuid: str, title: str, metric: str, primary: Measure) -> dict[str, Any]:
    return {
        **_card(uuid, title, "SCATTER"),
        "xaxis": {"key": metric, "type": "METRIC"},
        "yaxis": {"key": primary.mlflow_key, "type": "METRIC"},
    }


def _card(uuid: str, title: str, kind: str) -> dict[str, Any]:
    return {
        "uuid": f"tutelage-{uuid}", "type": kind, "displayName": title, "metricSectionId": SECTION,
        "deleted": False, "isGenerated": False, "runsCountToCompare": NUM_RUNS,
    }  # fmt: skip
