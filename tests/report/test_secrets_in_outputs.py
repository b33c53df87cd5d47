"""No output about a sweep has a secret of its spec, its students' settings, its errors or its MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests.dashboard.records import OBJECTIVES, Make, tree
from tests.stored_sweep import TEACHER, selection_of
from tutelage import watch
from tutelage.dashboard import candidate
from tutelage.dashboard.from_runs import snapshot_of_runs
from tutelage.dashboard.snapshot import snapshot_of
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.report import json_views, sweep_page, tables
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump

SECRET = "hunter2"
URI = f"postgresql://me:{SECRET}@host/db"
KEYED = {"api_key": SECRET, "source": URI}


@pytest.fixture
def home(tmp_path: Path, make_record: Make) -> SweepDir:
    given = {
        **tree(tmp_path), "tracking": {"uri": URI},
        "data": {"tests.wrong_plugins:Keyed": KEYED},
        "task": "tabular_classification",
        "select": {"policy": {"tests.wrong_plugins:KeyedPolicy": KEYED}},
    }  # fmt: skip
    searched = {name: {"choice": [value, "another"]} for name, value in KEYED.items()}
    given["distillation"]["method"] = {"tests.wrong_plugins:KeyedLoss": searched}
    made = sweeps.create(tmp_path, "stored", dump(from_dict(given).kept()))
    made.update(
        state="failed", error=f"cannot reach {URI}", run_id="run", experiment_id="1", teacher={**TEACHER, "source": None},
        objectives=[one.document() for one in OBJECTIVES], num_examples={"validation": 400},
    )  # fmt: skip
    made.ledger.append(keyed(make_record(0, accuracy=0.9, params=9000.0)))
    made.ledger.append(keyed(make_record(1, "stopped")))
    made.ledger.append(keyed(make_record(2, "failed", f"Traceback\nValueError: {URI} token={SECRET}")))
    record = made.records()[0]
    chosen = {**selection_of("stored", record), "reason": f"it is near {URI}"}
    made.files.put("selection.json", json.dumps(chosen))
    return made


def keyed(record: Any) -> Any:
    method = {"tests.wrong_plugins:KeyedLoss": KEYED}
    config = {**record.config, "distillation": {**record.config.get("distillation", {}), "method": method}}
    params = {**record.params, "distillation.method": URI, "data.api_key": SECRET}
    return replace(record, config=config, params=params, curve=({"epoch": 1.0, "accuracy": 0.5},))


def printed(shown: Any) -> str:
    text = StringIO()
    Console(width=200, file=text).print(shown)
    return f"t0 {text.getvalue()}"


def of_runs(home: SweepDir) -> Any:
    run = SimpleNamespace(
        info=SimpleNamespace(run_id="r", experiment_id="1", status="FAILED", start_time=1, end_time=2, run_name="t0"),
        data=SimpleNamespace(params={"data": URI, "lr": URI, "api_key": SECRET}, tags={"sweep": "s", "error": URI}, metrics={}),
    )
    pages = [[run]]
    client: Any = SimpleNamespace(
        search_runs=lambda *_, **__: type("Page", (list,), {"token": None})(pages.pop() if pages else []),
        get_experiment=lambda _: SimpleNamespace(tags={}),
    )
    reader: Any = SimpleNamespace(
        candidate=lambda *_: ({"sweep": {"name": "s", "commands": {}}}, run),
        curves=lambda _: {},
    )
    return [snapshot_of_runs(client, run, "note"), candidate.detail(reader, "r", "t0")]


OUTPUTS: dict[str, Callable[[SweepDir], Any]] = {
    "report": lambda home: sweep_page.page_of(home),
    "explorer's snapshot": lambda home: json.dumps(snapshot_of(home)),
    "explorer on foreign runs": lambda home: json.dumps(of_runs(home)),
    "csv": lambda home: tables.csv_of(tables.trials_table(home.records())),
    "watch": lambda home: printed(watch.picture(home, json_views.status(home), (100, 30))),
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_has_no_secret(home: SweepDir, output: str) -> None:
    assert "t0" in OUTPUTS[output](home)
    shown = OUTPUTS[output](home)
    assert SECRET not in shown, shown[max(0, shown.index(SECRET) - 200) : shown.index(SECRET) + 40]
