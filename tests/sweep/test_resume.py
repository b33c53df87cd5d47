"""What a resumed sweep may change, and that it has one driver at a time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL_SPEC
from tests.sweep.test_identity import BASE, ELSEWHERE, OTHERWISE, base_of, changed, fields_of
from tutelage.errors import InputError
from tutelage.records import sweeps
from tutelage.records.trial import TrialRecord
from tutelage.selection.same_data import check_data
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.sweep import extension, pipeline

BEFORE = loading.from_dict(SMALL_SPEC)


@pytest.mark.parametrize(("given", "total"), [("12", 12), (12, 12), ("+50", 58), (None, 8)])
def test_trials_are_a_total_or_an_increment(given: str | int | None, total: int) -> None:
    assert extension.with_trials(BEFORE, given).search.trials == total


def test_an_extension_that_is_repeated_adds_nothing() -> None:
    failed = extension.with_trials(BEFORE, "+2")
    assert extension.with_trials(failed, "+2", BEFORE.search.trials).search.trials == 10
    assert extension.with_trials(failed, "+5", BEFORE.search.trials).search.trials == 13
    assert extension.with_trials(failed, None, BEFORE.search.trials).search.trials == 10


@pytest.mark.parametrize("given", ["", "+", "-5", "0", "+0", "many", "1.5", "²"])
def test_other_text_than_a_number_of_trials_is_an_error(given: str) -> None:
    with pytest.raises(InputError, match=r"a total, such as 80, or additional trials, such as \+50"):
        extension.with_trials(BEFORE, given)


def test_more_trials_need_a_number_to_add_to() -> None:
    endless = loading.from_dict({**SMALL_SPEC, "search": {"trials": None, "hours": 1}})
    with pytest.raises(InputError, match="no number of trials"):
        extension.with_trials(endless, "+5")
    assert extension.with_trials(endless, "5").search.trials == 5


@pytest.mark.parametrize(
    "change",
    [{"search": {"trials": 9}}, {"search": {"trials": 8, "concurrency": 2}},
     {"resources": {**SMALL_SPEC["resources"], "trial": {"cpus": 2}}},
     {"search": {"trials": 8, "plateau": {"trials": 3}}}, {"select": {"policy": "min-size"}}],
)  # fmt: skip
def test_a_spec_that_only_extends_the_search_is_accepted(change: dict[str, object]) -> None:
    wanted = loading.from_dict({**SMALL_SPEC, **change})
    extension.check_extends(BEFORE, wanted)
    assert wanted.kept() != BEFORE.kept() and extension.address_of(wanted) == extension.address_of(BEFORE)


def test_every_other_difference_is_listed_in_an_error() -> None:
    tree = {**SMALL_SPEC, "student": {**SMALL_SPEC["student"], "epochs": 5}, "search": {"trials": 7, "sampler": "random"}}
    with pytest.raises(InputError) as caught:
        extension.check_extends(BEFORE, loading.from_dict(tree))
    for line in ("student.epochs: 4 → 5", "search.trials: 8 → 7", "search.sampler: tpe → random"):
        assert line in str(caught.value)


def test_a_started_trial_is_pending_until_it_ends(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> None:
    home = sweeps.create(tmp_path, "pending", "")
    for record in (
        make_record(0, "running"),
        make_record(1, "running"),
        make_record(2, "infeasible"),
        make_record(1, accuracy=0.5),
    ):
        home.ledger.append(record)
    assert [record.number for record in home.pending()] == [0]
    assert [record.number for record in home.records()] == [1, 2]
    home.ledger.append(make_record(0, accuracy=0.4))
    assert [record.number for record in home.ledger.ended()] == [2, 1, 0], "in the order in which they ended"


HOLDER = """
import sys, time
from pathlib import Path
from tutelage.records.sweeps import sweep_at
with sweep_at(sys.argv[1], sys.argv[2]).driven():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_second_driver_is_an_error_until_the_first_has_ended_in_any_way(tmp_path: Path) -> None:
    home = sweeps.create(tmp_path, "driven", "")
    assert not home.is_driven()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, home.storage.uri, home.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        assert home.is_driven()
        with pytest.raises(InputError, match=rf"'driven' is being driven by process {first.pid} on "):
            home.check_idle()
        with pytest.raises(InputError, match="two drivers would train every student twice"), home.driven():
            pass
        first.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while home.is_driven() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    with home.driven():
        assert home.storage.holder(f"sweeps/{home.name}") == f"process {os.getpid()} on {socket.gethostname()}"
    home.check_idle()


@pytest.mark.slow
def test_a_stopped_sweep_that_is_being_resumed_keeps_its_name_and_its_files(tmp_path: Path) -> None:
    """A sweep that was stopped before its first trial ended may be replaced by a new one, but not while a driver has it."""
    home = sweeps.create(tmp_path, "stopped", "")
    home.update(state="stopped")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, home.storage.uri, home.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"'stopped' is being driven by process {first.pid} on "):
            sweeps.check_free(tmp_path, "stopped")
        given = loading.from_dict({**SMALL_SPEC, "name": "stopped", "storage": str(tmp_path)})
        with pytest.raises(InputError, match="is being driven by"), pipeline._created(given):
            pass
        assert home.facts()["state"] == "stopped"
        first.kill()
    with pipeline._created(given) as created:
        assert created.facts()["state"] == "started" and created.is_driven()


def test_changed_data_are_an_error(tmp_path: Path, context: object) -> None:
    home = sweeps.create(tmp_path, "other", "")
    check_data(home, context)  # type: ignore[arg-type]
    home.update(fingerprint="0" * 64)
    with pytest.raises(InputError, match="the data of sweep 'other' have changed"):
        check_data(home, context)  # type: ignore[arg-type]


# Fields of the spec that a resumed sweep may change, and those that it may have more of
CHANGEABLE = {
    "select.policy", "select.max", "select.min", "search.plateau.trials", "search.plateau.gain", "search.concurrency",
    "search.confirm", "search.checkpoint_epochs", "knowledge.local_dir", "storage",
    "tracking.metrics_port", "tracking.metrics_host",
    *(f"resources.{job}.{what}" for job in ("teacher", "trial") for what in ("workers", "cpus", "gpus")),
}  # fmt: skip
LARGER = ("search.trials", "search.hours", "search.device_hours")
FURTHER: dict[str, Any] = {  # another value of the fields that `test_identity` does not list
    "search.plateau.trials": 7, "search.plateau.gain": 0.1, "search.sampler": "random", "search.initial_design": False,
    "search.warm_start": ["earlier"], "search.objectives": ["accuracy", "macs"],
    "search.measures": ["tests.tagging:SLOT_ERROR"], "search.constraints": {"max": {"params": 9000}},
    "search.stopping.rule": "dominance", "search.stopping.first_epoch": 2, "search.stopping.factor": 2,
    "search.confirm": 2, "search.concurrency": 1, "search.checkpoint_epochs": 1,
    **{f"resources.{job}.{what}": 2 for job in ("teacher", "trial") for what in ("workers", "cpus", "gpus")},
    "select.policy": "min-size", "select.max": {"params": 9000}, "select.min": {"accuracy": 0.5},
    "resources.latency.threads": 2, "resources.latency.node": {"device": "phone"}, "resources.latency.command": ["time-it"],
    "resources.latency.runtime": "torch", "resources.latency.timeout_s": 7.0,
    "storage": "elsewhere", "tracking.uri": "sqlite:///elsewhere.db", "tracking.experiment": "other",
    "tracking.metrics_port": 9464, "tracking.metrics_host": "0.0.0.0",
}  # fmt: skip
EVERY_FIELD = list(fields_of(Spec))
VALUES = {**{path: value for path, (value, _) in OTHERWISE.items()}, **FURTHER}


def test_every_field_of_the_spec_has_another_value() -> None:
    assert {*VALUES, *LARGER, *ELSEWHERE} == set(EVERY_FIELD)


@pytest.mark.parametrize("path", VALUES)
def test_only_settings_that_change_no_student_may_differ(path: str) -> None:
    before, after = loading.from_dict(base_of(path)), changed(path, VALUES[path])
    if path in CHANGEABLE:
        extension.check_extends(before, after)
        return
    with pytest.raises(InputError, match="may only have more"):
        extension.check_extends(before, after)


@pytest.mark.parametrize("path", LARGER)
def test_limits_of_a_search_may_only_grow(path: str) -> None:
    tree = {**BASE, "search": {**BASE["search"], "trials": 9, "hours": 9.0, "device_hours": 9.0}}
    name = path.removeprefix("search.")
    more, less = loading.from_dict(tree), loading.from_dict({**tree, "search": {**tree["search"], name: 1}})
    extension.check_extends(less, more)
    with pytest.raises(InputError, match=f"{path}: .* → 1"):
        extension.check_extends(more, less)
