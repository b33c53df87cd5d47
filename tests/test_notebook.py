"""What a notebook shows: a front with its picture, a sweep, a progress bar, the explorer."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import requests

import tutelage
from tests.dashboard.records import Make, events_of, new_sweep, track, trials
from tutelage import notebook
from tutelage.dashboard.snapshot_listener import log_from_ledger
from tutelage.records.observer import StageStarted, SweepEnded, SweepStarted
from tutelage.records.sweep_dir import SweepDir
from tutelage.report.notebook import ShownSweep
from tutelage.sweep import pipeline


@pytest.fixture
def home(tmp_path: Path, make_record: Make) -> SweepDir:
    found = new_sweep(tmp_path / "storage")
    for record in trials(make_record):
        found.ledger.append(record)
    found.update(state="finished")
    return tutelage.find_sweep("stored", tmp_path / "storage")


def test_a_front_shows_its_picture_and_its_table(home: SweepDir) -> None:
    table = tutelage.front(home)
    shown = table._repr_html_()
    assert shown is not None
    assert shown.startswith('<img alt="Pareto front of the students"')
    assert "data:image/png;base64,iVBOR" in shown
    assert all(name in shown for name in table["trial"])


def test_a_front_writes_its_numbers_as_other_tables_do(home: SweepDir) -> None:
    table = tutelage.front(home)
    shown = table._repr_html_()
    assert 4000.0 in list(table["params"]), "the table itself keeps its numbers"
    assert shown is not None and "<td>4,000</td>" in shown and "<td>0.9500</td>" in shown


def test_what_is_made_of_a_front_is_a_plain_table(home: SweepDir) -> None:
    table = tutelage.front(home)
    assert isinstance(table, pd.DataFrame)
    for made in (table[table["accuracy"] > 0.9], table.head(1), table.sort_values("accuracy"), table[["trial"]]):
        assert type(made) is pd.DataFrame
        assert "<img" not in str(made._repr_html_())  # type: ignore[operator]
    assert pd.DataFrame(pickle.loads(pickle.dumps(table))).equals(pd.DataFrame(table))


def test_a_sweep_shows_its_state_its_front_and_the_next_commands(home: SweepDir) -> None:
    shown = home._repr_html_()  # type: ignore[attr-defined]
    assert "<b>stored</b>: finished" in shown and "<img" in shown and "tutelage select stored" in shown
    begun = ShownSweep(home.storage, "other")
    begun.files.put("spec.yaml", home.files.local_path("spec.yaml").read_text())
    assert "<img" not in begun._repr_html_()


def test_names_stay_text(home: SweepDir, make_record: Make) -> None:
    record = make_record(9, accuracy=0.99, params=5.0)
    record.params["student.model"] = "<script>alert(1)</script>"
    home.ledger.append(record)
    shown = home._repr_html_()  # type: ignore[attr-defined]
    assert "&lt;script&gt;" in shown and "<script>" not in shown


def test_a_progress_bar_counts_the_trials_and_has_the_latest_lines(
    home: SweepDir, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(notebook, "GAP_S", 0.0)
    with notebook.NotebookProgress(shown.append) as progress:
        progress(SweepStarted(sweep="stored", num_trials=8, primary=home.primary()))
        progress(StageStarted(text="<b>teacher</b>"))
        for event in events_of(trials(make_record), home):
            progress(event)
        progress(SweepEnded(sweep="stored", state="finished"))
    assert '<progress max="8" value="6"' in shown[-1]
    assert "6 of 8 trials ended; front of 3" in shown[-1]
    assert any("&lt;b&gt;teacher" in one for one in shown)
    assert shown[-1].count("\n") == notebook.LINES - 1


def test_a_sweep_in_a_notebook_has_a_progress_bar(home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def swept(spec: Any, *, address: Any, observers: list[Any]) -> SweepDir:
        given.append([type(one) for one in observers])
        return SweepDir(home.storage, home.name)

    monkeypatch.setattr(pipeline, "sweep", swept)
    assert isinstance(tutelage.sweep(home.spec(), observers=[print]), ShownSweep)
    handle = SimpleNamespace(update=lambda html: None)
    display = SimpleNamespace(HTML=str, display=lambda html, display_id: handle)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1), display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)  # type: ignore[arg-type]
    tutelage.sweep(home.spec(), observers=[print])
    assert given == [[type(print)], [notebook.NotebookProgress, type(print)]]


@pytest.mark.slow
def test_the_explorer_in_a_cell_is_served_by_this_process(
    home: SweepDir, mlflow_store: Callable[[Path], str], make_record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = mlflow_store(tmp_path)
    monkeypatch.setattr(SweepDir, "tracking_uri", uri)
    tracker = track(home, uri, trials(make_record))
    log_from_ledger(home, tracker)
    tracker.close()
    cell = tutelage.explore(home, height=300)
    run_id = home.facts()["run_id"]
    assert f'src="{cell.url}"' in cell._repr_html_() and 'height="300"' in cell._repr_html_()
    address, _, place = cell.url.partition("#")
    assert (place, tutelage.explore(home).url) == (f"sweep={run_id}", cell.url)
    page = answered(address)
    assert "frame-ancestors" not in page.headers["content-security-policy"]
    assert answered(f"{address}api/sweeps/{run_id}/snapshot").json()["n"] == 8
    assert answered(f"{address}api/session").json()["mlflow"] is False
    elsewhere = requests.get(f"{address}api/sweeps", headers={"Host": "evil.example"}, timeout=60)
    assert elsewhere.status_code == 400, "a site whose name leads here is no page of the notebook"


def answered(url: str) -> requests.Response:
    deadline_s = time.monotonic() + 60
    while True:
        try:
            return requests.get(url, timeout=60)
        except requests.ConnectionError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
