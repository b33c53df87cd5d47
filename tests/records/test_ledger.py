from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.errors import WorkFailed
from tutelage.files import sha256_of, write_atomically, write_json
from tutelage.records.json_lines import JsonLines
from tutelage.records.ledger import Ledger, is_trained
from tutelage.records.trial import TrialRecord
from tutelage.storage import open_storage

Make = Callable[..., TrialRecord]


def ledger_in(directory: Path) -> Ledger:
    return Ledger(JsonLines(open_storage(directory), "trials.jsonl"))


def test_records_round_trip_and_the_latest_line_counts(tmp_path: Path, make_record: Make) -> None:
    ledger = ledger_in(tmp_path)
    assert ledger.read() == []
    second, first = make_record(1, accuracy=0.5), replace(make_record(0, accuracy=0.9), curve=({"epoch": 1.0},))
    ledger.append(second)
    ledger.append(first)
    later = replace(second, measures={"accuracy": 0.5, "latency_ms": 0.1})
    ledger.append(later)
    assert ledger.read() == [first, later]


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path, make_record: Make) -> None:
    ledger = ledger_in(tmp_path)
    ledger.append(make_record(0, accuracy=0.5))
    whole = ledger.path.read_text()
    ledger.path.write_text(whole + whole[: len(whole) // 2])
    assert [r.number for r in ledger.read()] == [0]
    ledger.path.write_text("{broken}\n" + whole)
    with pytest.raises(WorkFailed, match=r"trials\.jsonl:1"):
        ledger.read()


def test_what_is_not_a_number_never_reaches_the_disk(tmp_path: Path, make_record: Make) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger_in(tmp_path).append(make_record(0, accuracy=float("nan")))
    assert not (tmp_path / "trials.jsonl").exists() or (tmp_path / "trials.jsonl").read_text() == ""


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})
    before = sha256_of(path)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("inf")})
    with pytest.raises(TypeError):
        write_atomically(path, 3)  # type: ignore[arg-type]
    assert sha256_of(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_trial_counts_as_a_student_if_it_was_trained(make_record: Make) -> None:
    assert is_trained(make_record(0, accuracy=0.5)) and is_trained(make_record(1, "running"))
    assert not is_trained(make_record(2, "infeasible", params=9e9)), "rejected for its size"
    failed = make_record(3, "failed", "no such network")
    assert not is_trained(failed), "rejected before a worker had it"
    assert is_trained(replace(failed, started_s=1.7e9))
