"""The snapshot of a sweep: what it holds, that its bytes are whole or an error, and its increments."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.dashboard.records import Make, events_of, new_sweep, timed, trials
from tutelage.dashboard import snapshot as snapshots
from tutelage.dashboard.snapshot import increment, packed, snapshot_of, unpacked
from tutelage.intervals import wilson_interval
from tutelage.records import fronts
from tutelage.records.observer import TrialEnded
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import one_a_trial
from tutelage.report import importance
from tutelage.selection.query import policies_taken


@pytest.fixture
def home(tmp_path: Path, make_record: Make) -> SweepDir:
    found = new_sweep(tmp_path, constraints={"min": {"accuracy": 0.6}})
    for record in trials(make_record):
        found.ledger.append(record)
    return found


def test_its_front_is_that_of_the_command_line(home: SweepDir) -> None:
    found = snapshot_of(home)
    on_front = {name for name, is_on in zip(found["id"], found["is_on_front"], strict=True) if is_on}
    front = fronts.front_of(fronts.candidates(home), home.objectives())
    assert on_front == {record.trial_id for record in front} == {"t0000.0", "t0000.1", "t0000.2"}
    assert found["sweep"]["hypervolume"] == pytest.approx(fronts.hypervolume_of(fronts.candidates(home), home.objectives()))


def test_a_finished_candidate_that_misses_a_constraint_is_not_feasible(home: SweepDir) -> None:
    found = snapshot_of(home)
    assert found["sweep"]["constraints"] == [{"measure": "accuracy", "op": ">=", "value": 0.6}]
    assert found["state"][-1] == "finished"
    assert found["is_feasible"] == [True, True, True, True, False, False, False, False]


def test_an_interval_is_that_of_fresh_seeds_or_of_the_examples(home: SweepDir) -> None:
    home.add_measures(
        {"t0001": {"confirmed_mean": 0.89, "confirmed_low": 0.85, "confirmed_high": 0.92, "confirmed_seeds": 3.0}}
    )
    found = snapshot_of(home)
    assert (found["low"]["accuracy"][0], found["high"]["accuracy"][0]) == (0.85, 0.92)
    assert (found["mean"]["accuracy"][:2], found["seeds"][:2]) == ([0.89, None], [3, None])
    ends = (found["low"]["accuracy"][1], found["high"]["accuracy"][1])
    assert ends == pytest.approx(wilson_interval(380, 400))
    assert found["low"]["accuracy"][4] is None
    assert not {"confirmed_mean", "confirmed_low"} & set(found["values"])


def test_a_stopped_student_has_its_sizes_and_the_values_of_its_last_epoch_apart(home: SweepDir, make_record: Make) -> None:
    stopped = replace(timed(make_record(6, "stopped")), sizes={"params": 500.0}, initial_sizes={"params": 900.0})
    home.ledger.append(stopped)
    found = snapshot_of(home)
    assert found["last"]["accuracy"] == [None] * 4 + [0.6] * 2 + [None] * 2 + [0.6]
    assert found["last"]["params"] == [None] * 8 + [900.0]
    assert "train_loss" not in found["last"]
    assert increment(found, 8, found["revision"])["last"]["params"] == [900.0]
    assert found["values"]["params"][-1] is found["values"]["accuracy"][-1] is None


@pytest.mark.slow
def test_it_has_the_importances_of_the_report(home: SweepDir, make_record: Make) -> None:
    assert snapshot_of(home, policies_taken)["importance"] == {}, "too few trials"
    for number in range(10, 40):
        home.ledger.append(replace(
            make_record(number, accuracy=0.5 + number / 100, params=100.0 * number), params={"sparsity.amount": number / 40}
        ))  # fmt: skip
    found = snapshot_of(home, policies_taken)["importance"]
    reported = importance.importances(one_a_trial(home.records()), home.objectives())
    assert {name: one["shares"] for name, one in found.items()} == {one.objective: one.shares for one in reported}
    assert found["accuracy"]["r2"] > 0.3 and "sparsity.amount" in found["accuracy"]["shares"]
    assert "importance" not in snapshot_of(home), "it takes seconds, which a running sweep has not"


def test_searched_settings_are_numbers_or_places_among_their_choices(home: SweepDir) -> None:
    found = snapshot_of(home)["config"]
    assert found["student.model"] == {"kind": "choice", "choices": ["mlp", "convnet"], "values": [0] * 8}
    assert found["distillation.temperature"]["log"] is True
    assert found["distillation.temperature"]["values"] == [2.0] * 8
    assert found["sparsity.amount"] == {"kind": "number", "log": False, "values": [None] * 8}


def test_a_choice_of_a_value_that_the_space_lacks_is_added(home: SweepDir) -> None:
    domain = {"kind": "choice", "choices": [True, 1]}
    found = snapshots.as_setting("a", domain, [1, True, "other", None])
    assert found == {"kind": "choice", "choices": [True, 1, "other"], "values": [1, 0, 2, None]}


def test_it_says_what_each_policy_takes_and_why_not(home: SweepDir) -> None:
    found = snapshot_of(home, policies_taken)
    policies = found["sweep"]["policies"]
    assert found["id"][policies["best-quality"]["takes"]] == "t0000.0"
    assert found["id"][policies["min-size"]["takes"]] == "t0000.2"
    assert policies["min-latency"]["takes"] is None
    assert "latency" in policies["min-latency"]["why_none"]


def test_the_teacher_is_a_baseline(home: SweepDir) -> None:
    (teacher,) = snapshot_of(home)["baselines"]
    assert (teacher["kind"], teacher["values"]["accuracy"], teacher["values"]["params"]) == ("teacher", 0.99, 20_000.0)


def test_before_a_search_begins_there_are_no_rows(tmp_path: Path) -> None:
    found = new_sweep(tmp_path)
    found.files.remove("events.jsonl")
    document = snapshot_of(found)
    assert (document["n"], document["id"], document["sweep"]["objectives"]) == (0, [], [])
    assert unpacked(packed(document)) == document


def test_bytes_are_read_back_whole_also_in_pieces(home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    document = snapshot_of(home)
    document["sweep"]["notes"] = ["</script><script>alert(1)</script>"]
    whole = packed(document)
    monkeypatch.setattr(snapshots, "CHUNK", 3)
    assert unpacked(packed(document)) == unpacked(whole) == json.loads(json.dumps(document))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", packed({"format": 2, "n": 0}), packed({"format": 1}), gzip.compress(b"[1]"), gzip.compress(b'{"n": 1')],
    ids=["empty", "not packed", "another format", "no count", "no object", "cut short"],
)
def test_other_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        unpacked(data)


def test_a_snapshot_cut_short_is_an_error(home: SweepDir) -> None:
    data = packed(snapshot_of(home))
    for length in (1, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(ValueError, match="snapshot"):
            unpacked(data[:length])


def test_a_snapshot_with_a_spoilt_byte_is_an_error(home: SweepDir) -> None:
    data = packed(snapshot_of(home))
    for place in range(10, len(data), 7):
        spoilt = bytearray(data)
        spoilt[place] ^= 0xFF
        with pytest.raises(ValueError, match="snapshot"):
            unpacked(bytes(spoilt))


@pytest.mark.parametrize(
    "change",
    [
        {"sweep": None}, {"sweep": {"name": "x"}}, {"sweep": {"name": "x", "commands": None}}, {"id": None}, {"run_id": []},
        {"is_on_front": [True]}, {"revision": None}, {"n": "8"}, {"n": [8]}, {"n": 7}, {"values": {"accuracy": [0.5]}},
        {"values": [0.5]}, {"config": {"a": None}}, {"config": {"a": {"values": [1]}}}, {"seeds": []},
        {"mean": {"accuracy": [float("nan")] * 8}}, {"n": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_a_document_without_what_requests_read_is_an_error(home: SweepDir, change: dict[str, object]) -> None:
    """Whoever may write to MLflow can put another document at the snapshot's place."""
    document = snapshot_of(home)
    assert document["n"] == 8
    with pytest.raises(ValueError, match="snapshot"):
        unpacked(gzip.compress(json.dumps({**document, **change}).encode()))


def test_a_snapshot_that_would_fill_the_memory_is_an_error(home: SweepDir, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(snapshot_of(home)).encode()
    monkeypatch.setattr(snapshots, "MOST_BYTES", len(text))
    assert unpacked(gzip.compress(text))["n"] == 8
    with pytest.raises(ValueError, match="snapshot"):
        unpacked(gzip.compress(text + b" "))


def test_a_page_with_an_increment_has_what_a_new_page_has(home: SweepDir) -> None:
    whole = snapshot_of(home)
    part = increment(whole, 5, whole["revision"])
    assert part["since"] == 5
    assert part["id"] == whole["id"][5:]
    assert part["values"]["params"] == whole["values"]["params"][5:]
    assert part["config"]["student.model"] == {"kind": "choice", "choices": ["mlp", "convnet"], "values": [0] * 3}
    assert part["is_on_front"] == whole["is_on_front"]
    assert part["sweep"] == whole["sweep"]


def test_an_increment_cuts_a_column_whatever_its_name_and_nothing_of_the_same_length(home: SweepDir) -> None:
    whole, names = snapshot_of(home), ("sweep", "choices", "measures", "baselines", "is_on_front")
    count, column = whole["n"], list(range(whole["n"]))
    whole["values"] |= dict.fromkeys(names, column)
    whole["config"] |= {
        name: {"kind": "choice", "choices": [str(place) for place in column], "values": column} for name in names
    }
    whole["baselines"] = whole["sweep"]["notes"] = ["note"] * count
    part = increment(whole, 5, whole["revision"])
    for name in names:
        assert part["values"][name] == part["config"][name]["values"] == column[5:]
        assert len(part["config"][name]["choices"]) == len(part["baselines"]) == len(part["sweep"]["notes"]) == count


@pytest.mark.parametrize(("since", "revision"), [(5, "another"), (99, None), (-1, None)])
def test_a_page_of_another_revision_gets_the_whole(home: SweepDir, since: int, revision: str | None) -> None:
    whole = snapshot_of(home)
    assert increment(whole, since, revision or whole["revision"]) == whole


def test_the_live_rows_are_those_of_the_ledger(home: SweepDir, make_record: Make) -> None:
    """What a running sweep shows, event by event, is what its ledger gives afterwards."""
    from tutelage.dashboard.header import header
    from tutelage.dashboard.rows import Rows
    from tutelage.records.observer import FrontChanged

    head, rows = header(home), Rows(home.kept_spec().space.names())
    for event in events_of(trials(make_record), home):
        if isinstance(event, TrialEnded):
            rows.add(event.record, event.labels)
        elif isinstance(event, FrontChanged):
            rows.leave_front(event.left)
    live, after = snapshots.assembled(head, rows.document({}), home.measures()), snapshot_of(home)
    for one in (live, after):
        one.pop("revision")
        one["sweep"].pop("updated_at")
    assert live == after


def test_columns_have_an_entry_a_row_where_every_trial_failed(tmp_path: Path, make_record: Make) -> None:
    home = new_sweep(tmp_path / "storage")
    home.ledger.append(make_record(0, "failed", "ValueError: no"))
    found = snapshot_of(home)
    assert (found["n"], found["low"], found["high"]) == (1, {"accuracy": [None]}, {"accuracy": [None]})
