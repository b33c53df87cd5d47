"""The candidates of a sweep as columns."""

from __future__ import annotations

from tests.dashboard.records import SEARCHED, Make, trials
from tutelage.dashboard.rows import Rows


def labels(rows: Rows, make: Make) -> None:
    for record in trials(make):
        rows.add(record, {one.trial_id: "front" if one.state == "finished" else one.state for one in record.per_candidate()})


def test_a_candidate_is_a_row_in_the_order_in_which_the_trials_ended(make_record: Make) -> None:
    rows = Rows(SEARCHED)
    labels(rows, make_record)
    found = rows.document({"t0001": "run-1"})
    assert found["id"] == ["t0001", "t0000.0", "t0000.1", "t0000.2", "t0003", "t0002", "t0004", "t0005"]
    assert found["n"] == 8
    assert found["trial"] == [1, 0, 0, 0, 3, 2, 4, 5]
    assert found["candidate"] == [0, 0, 1, 2, 0, 0, 0, 0]
    assert found["state"] == ["finished"] * 4 + ["failed", "stopped", "infeasible", "finished"]
    assert found["run_id"] == ["run-1", *[None] * 7]
    assert found["finished_at"] == [1_003_500, 1_002_500, 1_002_500, 1_002_500, 1_005_500, 1_004_500, None, 1_007_500]
    assert found["started_at"] == 1_000_000


def test_a_rung_of_a_ladder_has_the_rung_before_as_its_parent(make_record: Make) -> None:
    rows = Rows(SEARCHED)
    labels(rows, make_record)
    found = rows.document({})
    assert found["parent"] == [-1, -1, 1, 2, -1, -1, -1, -1]
    assert found["provenance"][1:4] == ["scratch", "inherited", "inherited"]


def test_a_measure_that_few_have_is_none_for_the_others(make_record: Make) -> None:
    rows = Rows(SEARCHED)
    labels(rows, make_record)
    found = rows.document({})["values"]
    assert found["size_bytes"] == [36000.0, *[None] * 7]
    assert found["params"] == [9000.0, 4000.0, 2000.0, 1000.0, None, None, 9e9, 1500.0]
    rows.add(make_record(6, latency_ms=0.5), {"t0006": "dominated"})
    assert rows.document({})["values"]["latency_ms"] == [*[None] * 8, 0.5]


def test_nan_and_infinity_are_none(make_record: Make) -> None:
    rows = Rows(())
    rows.add(make_record(0, accuracy=float("nan"), latency_ms=float("inf")), {"t0000": "dominated"})
    assert rows.document({})["values"] == {"accuracy": [None], "latency_ms": [None]}


def test_a_trial_that_ends_twice_is_one_row(make_record: Make) -> None:
    rows = Rows(())
    for _ in range(2):
        rows.add(make_record(0, accuracy=0.5), {"t0000": "front"})
    assert rows.document({})["n"] == 1


def test_the_revision_stays_while_rows_are_added_and_the_front_moves(make_record: Make) -> None:
    rows = Rows(())
    rows.add(make_record(0, accuracy=0.5), {"t0000": "front"})
    before = rows.document({"t0000": "a"})
    rows.add(make_record(1, accuracy=0.6), {"t0001": "front"})
    rows.leave_front(["t0000"])
    after = rows.document({"t0000": "a", "t0001": "b"})
    assert after["is_on_front"] == [False, True]
    assert after["revision"] == before["revision"]
    assert before["is_on_front"] == [True], "a document is a copy"


def test_the_revision_changes_when_a_shown_row_gets_its_run(make_record: Make) -> None:
    rows = Rows(())
    rows.add(make_record(0, accuracy=0.5), {"t0000": "front"})
    before = rows.document({})["revision"]
    assert rows.document({"t0000": "a"})["revision"] != before
    assert Rows(()).document({})["revision"] != before
