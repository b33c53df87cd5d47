from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.stored_sweep import selection_of
from tutelage.objectives import objective
from tutelage.records import fronts
from tutelage.records.sweep_dir import measures_in
from tutelage.records.trial import Candidate, TrialRecord
from tutelage.report import figures, selection_sections, sweep_page, tables

pytestmark = pytest.mark.slow

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))
TEACHER = {"accuracy": 0.99, "params": 1e6}
Make = Callable[..., TrialRecord]
LOADS = re.compile(r'<(?:script|img|link)\b[^>]*\b(?:src|href)="http')  # plotly's script itself names addresses of maps


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    rows = [(0.9, 500.0), (0.7, 100.0), (0.8, 400.0), (0.6, 300.0)]
    finished = [make_record(i, accuracy=a, params=p, macs=2 * p) for i, (a, p) in enumerate(rows)]
    return [*finished, make_record(4, "failed", "Traceback\nValueError: <script>alert(1)</script>")]


def test_the_front_is_a_tidy_table_smallest_first(records: list[TrialRecord]) -> None:
    table = tables.front_table(records, OBJECTIVES)
    assert table["trial"].tolist() == ["t0001", "t0002", "t0000"]
    assert list(table.columns) == ["trial", "accuracy", "params", "macs", "student.model", "distillation.temperature"]
    assert len(tables.trials_table(records)) == 5


@pytest.mark.slow
def test_no_finished_trial_gives_an_empty_front(make_record: Make) -> None:
    none = [make_record(0, "failed", "no")]
    assert fronts.front_of(none, OBJECTIVES) == []
    assert tables.front_table(none, OBJECTIVES).empty
    assert figures.front_png(none, OBJECTIVES, TEACHER).startswith(b"\x89PNG")
    assert "<html>" in figures.front_html(none, OBJECTIVES, TEACHER)


def test_pictures_hold_every_finished_student_and_the_teacher(records: list[TrialRecord]) -> None:
    figure = figures.front_figure(records, OBJECTIVES, TEACHER)
    assert [len(trace.x) for trace in figure.data] == [1, 3, 1]
    assert list(figure.data[1].x) == [100, 400, 500]
    assert figure.layout.xaxis.type == "log"
    third = (*OBJECTIVES, replace(objective("macs"), reference=1e9))
    deep = figures.front_figure(records, third)
    assert dict(zip(deep.data[1].x, deep.data[1].marker.color, strict=True)) == {100: 200, 400: 800, 500: 1000}
    assert (figure.data[1].mode, deep.data[1].mode) == ("lines+markers", "markers"), "no staircase in three objectives"
    page = figures.front_html(records, OBJECTIVES, TEACHER)
    assert "t0002" in page
    assert not LOADS.search(page), "the page needs no network"


def test_the_page_escapes_its_text_and_shows_failures(records: list[TrialRecord]) -> None:
    sweep = sweep_page.Sweep(
        name="<b>sweep", spec_yaml="name: <i>", objectives=OBJECTIVES, measures=measures_in({}), records=records,
        candidates=records[:4], teacher=TEACHER, selection=None, environment={"torch": "2.13"}, elapsed_s=90.0,
    )  # fmt: skip
    page = sweep_page.page(sweep)
    assert "<script>alert" not in page
    assert "ValueError: &lt;script&gt;" in page
    assert "&lt;b&gt;sweep" in page
    assert "No student has been selected yet" in page
    assert "trials failed" in page


def page_of(records: list[TrialRecord], selection: dict[str, Any] | None) -> str:
    sweep = sweep_page.Sweep(
        name="sweep", spec_yaml="name: x", objectives=OBJECTIVES, measures=measures_in({}), records=records,
        candidates=[r for r in records if r.state == "finished"], teacher=TEACHER, selection=selection, environment={},
        elapsed_s=90.0, search_s=50.0,
    )  # fmt: skip
    return sweep_page.page(sweep)


def test_the_page_shows_the_cost_and_the_stopped_students(records: list[TrialRecord], make_record: Make) -> None:
    curve = ({"accuracy": 0.3}, {"accuracy": 0.4})
    stopped = replace(make_record(5, "stopped"), curve=curve, elapsed_s=2.5)
    page = page_of([*records, stopped], None)
    for part in (
        "<td>2 of 3</td><td>0.4000</td>",
        "that spared 1 epochs",
        "<td>40.0</td>",
        "1 trials that had one",
        "are noise",
    ):
        assert part in page, part
    assert "Stopped early" not in page_of(records, None)
    assert not LOADS.search(page) and "<link" not in page


@pytest.mark.slow
def test_confirmed_students_have_error_bars_and_their_regression_is_shown(records: list[TrialRecord]) -> None:
    fresh = {"confirmed_mean": 0.75, "confirmed_low": 0.7, "confirmed_high": 0.81, "confirmed_seeds": 3.0}
    once = {"confirmed_mean": 0.95, "confirmed_seeds": 1.0}
    added = {"t0002": fresh, "t0000": once}
    records = [replace(one, measures={**one.measures, **added.get(one.trial_id, {})}) for one in records]
    selection = selection_of("sweep", records[0])
    figure = figures.front_figure(records, OBJECTIVES, TEACHER, OBJECTIVES[0].measure)
    figures.add_baseline(figure, OBJECTIVES, records, selection_sections.baseline_of(selection) or {})
    by_name = {trace.name: trace for trace in figure.data}
    bars, baseline = by_name["fresh seeds, mean and 95 % interval (2)"], by_name["t0000, label-only baseline"]
    assert dict(zip(bars.x, bars.y, strict=True)) == {400: 0.75, 500: 0.95}
    assert dict(zip(bars.x, zip(bars.error_y.arrayminus, bars.error_y.array, strict=True), strict=True)) == {
        400: pytest.approx((0.05, 0.06)), 500: pytest.approx((0, 0)),
    }  # fmt: skip
    assert (baseline.x[0], baseline.y[0]) == (500, 0.93)
    page = page_of(records, selection)
    assert "<td>t0002</td><td>0.8000</td><td>3</td><td>0.7500</td><td>0.7000 to 0.8100</td><td>-5.00</td>" in page
    assert "It shrank a little." in page and "evaluated 2 times" in page
    assert figures.front_png(records, OBJECTIVES, TEACHER, OBJECTIVES[0].measure).startswith(b"\x89PNG")
    assert selection_sections.baseline_of(None) is None


def test_colours_belong_to_their_students_whatever_the_x_axis_is(make_record: Make) -> None:
    """By size in bytes the order is another than by parameters, so a colour list in the wrong order shows."""
    rows = [(0.9, 100.0, 900.0, 7.0), (0.8, 200.0, 300.0, 5.0), (0.7, 300.0, 100.0, 3.0)]
    members = [make_record(i, accuracy=a, params=p, size_bytes=s, latency_ms=t) for i, (a, p, s, t) in enumerate(rows)]
    objectives = (objective("accuracy"), objective("size_bytes"), objective("latency_ms"))
    front = figures.front_figure(members, objectives).data[1]
    assert dict(zip(front.x, front.marker.color, strict=True)) == {900: 7, 300: 5, 100: 3}
    assert figures.front_png(members, objectives).startswith(b"\x89PNG")


def test_hover_text_is_escaped(make_record: Make) -> None:
    record = replace(make_record(0, accuracy=0.9, params=1.0), params={"student.model": "mine:<b>&"})
    assert "mine:&lt;b&gt;&amp;" in figures.front_figure([record], OBJECTIVES).data[1].text[0]


def test_no_cell_of_a_csv_is_a_formula(make_record: Make) -> None:
    record = replace(make_record(0, accuracy=0.9, params=1.0), params={"student.model": "=cmd|'/C calc'!A0", "@x": -1.5})
    header, row = tables.csv_of(tables.trials_table([record])).splitlines()
    assert "'@x" in header.split(",") and "'=cmd|'/C calc'!A0" in row.split(",") and "-1.5" in row.split(",")


def test_labels_of_measures_are_text_on_pictures(make_record: Make) -> None:
    measure = replace(OBJECTIVES[0].measure, label="<b>cost</b> $\\frac$ in $", unit="$")
    odd = (replace(OBJECTIVES[0], measure=measure), OBJECTIVES[1])
    records = [make_record(0, accuracy=0.9, params=1.0)]
    assert figures.front_png(records, odd).startswith(b"\x89PNG")
    assert figures.front_figure(records, odd).layout.yaxis.title.text.startswith("&lt;b&gt;cost")


def test_inherited_students_are_marked_in_pictures_tables_and_page_and_a_trial_counts_once(
    records: list[TrialRecord], make_record: Make
) -> None:
    each = records_of_ladder(make_record(9))
    assert "inherited" not in tables.trials_table(records).columns
    table = tables.front_table([*records, *each], OBJECTIVES).set_index("trial")
    assert table["inherited"].to_dict() == {name: name in ("t0009.1", "t0009.2") for name in table.index}
    assert table.loc["t0009.2", ["rung", "amount"]].tolist() == [2, 0.8]
    figure = figures.front_figure([*records, *each], OBJECTIVES, TEACHER)
    open_marks = dict(zip(figure.data[1].x, figure.data[1].marker.symbol, strict=True))
    assert {x for x, symbol in open_marks.items() if symbol == "circle-open"} == {10, 30}
    assert figures.front_png([*records, *each], OBJECTIVES, TEACHER).startswith(b"\x89PNG")
    page = page_of([*records, *each], None)
    assert "2 students, cut from a trained student of the same trial" in page
    assert "inherited" not in page_of(records, None)
    spent = page_of([replace(one, elapsed_s=8.0, curve=({"epoch": 1.0},) * 7) for one in each], None)
    assert "1 trials that had one" in spent and "<td>7</td>" in spent and "<td>8.0</td>" in spent


def records_of_ladder(trial: TrialRecord) -> list[TrialRecord]:
    candidates = tuple(
        Candidate(measures={"accuracy": accuracy, "params": params}, amount=amount, made="cut", rung=rung)
        for rung, (accuracy, params, amount) in enumerate([(0.999, 700, 0.0), (0.61, 30, 0.4), (0.6, 10, 0.8)])
    )
    return replace(trial, measures=candidates[2].measures, candidates=candidates).per_candidate()
