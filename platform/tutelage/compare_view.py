"""The chart page that MLflow opens on without a click: size against accuracy, and every searched value beside them.

MLflow 3.15 and later keep a saved view as one tag of the experiment. The format is its user interface's own, so a version
that does not know it shows its usual page.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

VIEW_ID = "tutelage-pareto"
TAG = f"mlflow.sharedViewState.{VIEW_ID}"
SECTION = "tutelage-front"
AUTOMATIC = ("quality", "size", "cost", "train")
CREATED_MS = 1_760_000_000_000


def path(experiment_id: str) -> str:
    """Return the page's path below MLflow's address."""
    return f"/#/experiments/{experiment_id}/runs?compareRunsMode=CHART&viewStateShareKey={VIEW_ID}"


def tag_value(searched: Sequence[str]) -> str:
    """Return the tag's value: a named view over the runs of all sweeps in the experiment."""
    state = base64.b64encode(zlib.compress(json.dumps(_state(searched)).encode())).decode()
    return json.dumps({"name": "Pareto", "createdAt": CREATED_MS, "updatedAt": CREATED_MS, "state": f"deflate;{state}"})


def _state(searched: Sequence[str]) -> dict[str, Any]:
    return {
        "searchFilter": "tags.stage = 'trial'",
        "orderByKey": "metrics.`quality/accuracy`",
        "orderByAsc": False,
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": [
            "tags.`pareto`", "metrics.`quality/accuracy`", "metrics.`size/params`", "metrics.`cost/macs`",
            *(f"params.`{name}`" for name in searched),
        ],
        "compareRunSections": [
            _section(SECTION, "Accuracy by size", display=True),
            *(_section(f"tutelage-{prefix}", prefix, display=False) for prefix in AUTOMATIC),
        ],
        "compareRunCharts": [
            _scatter("size", "Size against accuracy", "size/log10_params"),
            _scatter("macs", "Multiply–accumulates against accuracy", "cost/macs"),
            {
                **_card("parallel", "Searched values", "PARALLEL"),
                "selectedParams": list(searched),
                "selectedMetrics": ["size/log10_params", "quality/accuracy"],
                "showAllRuns": True,
            },
        ],
    }  # fmt: skip


def _section(uuid: str, name: str, *, display: bool) -> dict[str, Any]:
    """Return a section; those that MLflow makes itself, one a metric's prefix, are put after ours and folded."""
    return {
        "uuid": uuid, "name": name, "display": display, "isReordered": True, "deleted": False,
        "isGenerated": name in AUTOMATIC,
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
        "deleted": False, "isGenerated": False, "runsCountToCompare": 100,
    }  # fmt: skip
