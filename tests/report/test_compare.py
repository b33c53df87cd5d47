"""Two sweeps on disk against each other, by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stored_sweep import TEACHER, spec_tree
from tests.test_cli import run
from tutelage.errors import InputError
from tutelage.objectives import objective
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.report import compare
from tutelage.spec.loading import from_dict
from tutelage.spec.yaml_lines import dump

Make = Callable[..., TrialRecord]
A = [(0.9, 500.0), (0.7, 100.0), (0.8, 600.0)]
B = [(0.9, 400.0), (0.6, 100.0), (0.95, 900.0)]


def write(storage: Path, name: str, make_record: Make, rows: Sequence[tuple[float, float]], **facts: Any) -> SweepDir:
    home = sweeps.create(storage, name, dump(from_dict(spec_tree(storage, name)).resolved()))
    reference = facts.pop("reference", 1000.0)
    objectives = [objective("accuracy").document(), replace(objective("params"), reference=reference).document()]
    home.update(
        **{"state": "finished", "objectives": objectives, "teacher": TEACHER, "fingerprint": "f", "elapsed_s": 60.0, **facts}
    )
    for number, (accuracy, params) in enumerate(rows):
        home.ledger.append(make_record(number, accuracy=accuracy, params=params))
    home.ledger.append(make_record(len(rows), "failed", "no"))
    return home


@pytest.fixture
def homes(tmp_path: Path, make_record: Make) -> list[SweepDir]:
    return [write(tmp_path, "a", make_record, A), write(tmp_path, "b", make_record, B, reference=2000.0)]


def test_hypervolumes_share_one_reference_and_dominated_students_are_counted(homes: list[SweepDir]) -> None:
    document = compare.compare(homes, {}).document
    assert document["reference"] == {"accuracy": 0.0, "params": 2000.0}, "the worst of the two"
    a, b = document["sweeps"]
    assert a["hypervolume"] == pytest.approx(0.7 * 1900 + 0.2 * 1500)
    assert b["hypervolume"] == pytest.approx(0.6 * 1900 + 0.3 * 1600 + 0.05 * 1100)
    assert (a["front_size"], b["front_size"], a["trials"], a["finished"]) == (2, 3, 4, 3)
    assert document["dominated"] == [
        {"sweep": "a", "by": "b", "trials": ["t0000"], "of": 2},
        {"sweep": "b", "by": "a", "trials": ["t0001"], "of": 3},
    ]
    assert any("reference points differ in params (a 1,000, b 2,000)" in note for note in document["notes"])
    json.dumps(document, allow_nan=False)


def test_a_given_reference_and_given_sizes_are_used(homes: list[SweepDir]) -> None:
    document = compare.compare(homes, {"params": 450.0}, [99, 400, 1e4]).document
    assert document["sweeps"][0]["hypervolume"] == pytest.approx(0.7 * 350)
    assert [at["value"] for at in document["sweeps"][0]["best_at"]] == [None, 0.7, 0.9]
    assert [at["value"] for at in document["sweeps"][1]["best_at"]] == [None, 0.9, 0.95]
    with pytest.raises(InputError, match="the objectives are accuracy, params"):
        compare.compare(homes, {"macs": 1.0})


def test_equal_sweeps_do_not_dominate_each_other(tmp_path: Path, make_record: Make) -> None:
    homes = [write(tmp_path, name, make_record, A) for name in ("one", "same")]
    document = compare.compare(homes, {}).document
    assert [one["trials"] for one in document["dominated"]] == [[], []]
    assert document["sweeps"][0]["hypervolume"] == document["sweeps"][1]["hypervolume"]


def test_sweeps_that_cannot_be_compared_are_an_error(tmp_path: Path, homes: list[SweepDir], make_record: Make) -> None:
    other = {
        "other data": write(tmp_path, "c", make_record, A, fingerprint="g"),
        "other objectives": write(tmp_path, "d", make_record, A, objectives=[objective("accuracy").document()]),
        "no finished student": write(tmp_path, "e", make_record, []),
        "two different sweeps": homes[0],
    }
    for said, home in other.items():
        with pytest.raises(InputError, match=said):
            compare.compare([homes[0], home], {})


def test_sizes_are_rounded_up_to_two_digits() -> None:
    assert [compare._rounded_up(size) for size in (1234.0, 100.0, 0.01234, 9.99, 0.0)] == [1300.0, 100.0, 0.013, 10.0, 0.0]


@pytest.mark.slow
def test_the_command_prints_draws_and_writes(homes: list[SweepDir], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage, page, picture = ("--storage", homes[0].storage.uri), tmp_path / "c.html", tmp_path / "c.png"
    code, out, _ = run(capsys, "compare", "a", "b", *storage, "--html", page, "--png", picture, "--at", "1k")
    assert code == 0
    for part in ("hypervolume", "≤ 1,000", "1 of 2", "One run each"):
        assert part in out, part
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "a against b" in text and "<script src=" not in text and "t0000" in text
    code, out, _ = run(capsys, "compare", "a", "b", *storage, "--json")
    assert json.loads(out)["version"] == 2
    code, _, err = run(capsys, "compare", "a", "bb", *storage)
    assert code == 2 and "Did you mean" in err


def test_the_one_reference_is_the_worst_of_all_in_either_direction(tmp_path: Path, make_record: Make) -> None:
    homes = [write(tmp_path, name, make_record, A) for name in ("a", "b")]
    for home, accuracy, params in zip(homes, (0.2, 0.4), (700.0, 900.0), strict=True):
        own = zip((objective("accuracy"), objective("params")), (accuracy, params), strict=True)
        home.update(objectives=[replace(one, reference=value).document() for one, value in own])
    assert compare.compare(homes, {}).document["reference"] == {"accuracy": 0.2, "params": 900.0}
