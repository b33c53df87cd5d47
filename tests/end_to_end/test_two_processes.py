"""Two processes want the same thing: the second waits, says so and follows, or is refused; a killed holder holds nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from torch import nn

from tutelage.errors import InputError
from tutelage.export import bundle, registry
from tutelage.networks import checkpoint
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.storage.local import LocalStorage
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_cache import Entry

PATIENCE_S = 60.0
Say = Callable[[str], None]
Turn = Callable[[Path, Say], AbstractContextManager[None]]

pytestmark = pytest.mark.slow  # a process is forked in each of them

FORKED = multiprocessing.get_context("fork")  # it has torch and this package loaded


def _sweep(storage: Path) -> SweepDir:
    return sweeps.sweep_at(storage, "stored")


TURNS: dict[str, tuple[Turn, str]] = {
    "selection": (lambda storage, say: _sweep(storage).in_turn(say), "sweep 'stored'"),
    "champion": (
        lambda storage, say: registry.in_turn(f"sqlite:///{storage}/mlflow.db", "digits", say),
        "the registered model 'digits'",
    ),
    "champion on a server": (
        lambda storage, say: registry.in_turn("http://127.0.0.1:9", "digits", say, storage),
        "the registered model 'digits'",
    ),
    "knowledge": (lambda storage, say: Entry(LocalStorage(storage / "knowledge")).lock(say), "the same knowledge"),
}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage with one finished sweep."""
    sweeps.create(tmp_path, "stored", "").update(state="finished")
    return tmp_path


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Give a function that calls another in a process of its own; the process is killed at the end of the test."""
    started: list[BaseProcess] = []

    def begin(function: Callable[..., None], *arguments: object) -> BaseProcess:
        process = FORKED.Process(target=function, args=arguments, daemon=True)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def hold(what: str, storage: Path) -> None:
    """Hold a turn for as long as this process lives."""
    with TURNS[what][0](storage, lambda words: None):
        (storage / "held").touch()
        time.sleep(600)


@pytest.mark.parametrize("what", TURNS)
def test_the_second_process_waits_with_a_message_and_continues_after_a_killed_holder(
    what: str, storage: Path, start: Callable[..., BaseProcess]
) -> None:
    holder, said = start(hold, what, storage), list[str]()
    until((storage / "held").exists)

    def say(words: str) -> None:
        said.append(words)
        holder.kill()

    for _ in range(2):  # the second time nobody holds it
        with TURNS[what][0](storage, say):
            assert not holder.is_alive() or holder.join(PATIENCE_S) is None
    assert len(said) == 1 and said[0].startswith(f"process {holder.pid} on ")
    assert said[0].endswith(f"is at work on {TURNS[what][1]}; waiting for it")


def work(what: str, storage: Path, number: int) -> None:
    """Take three turns; in each, append a line at its begin and one at its end."""
    (storage / f"ready-{number}").touch()
    until((storage / "go").exists)
    for _ in range(3):
        with TURNS[what][0](storage, lambda words: None), (storage / "log").open("a") as log:
            for edge in ("begin", "end"):
                print(edge, number, file=log, flush=True)
                time.sleep(0.005)


@pytest.mark.parametrize("what", TURNS)
def test_of_several_processes_one_is_at_work_at_a_time(what: str, storage: Path, start: Callable[..., BaseProcess]) -> None:
    processes = [start(work, what, storage, number) for number in range(3)]
    until(lambda: len(list(storage.glob("ready-*"))) == 3)
    (storage / "go").touch()
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    lines = [line.split() for line in (storage / "log").read_text().splitlines()]
    turns = list(zip(lines[::2], lines[1::2], strict=True))
    assert len(turns) == 9 and all(first == ["begin", number] for first, (_, number) in turns)
    assert all(second[0] == "end" for _, second in turns)


def drive(storage: Path) -> None:
    """Be the driver of the sweep for as long as this process lives."""
    with _sweep(storage).driven():
        (storage / "held").touch()
        time.sleep(600)


def test_a_sweep_that_another_process_drives_is_an_error_until_that_process_is_killed(
    storage: Path, start: Callable[..., BaseProcess]
) -> None:
    home, driver = _sweep(storage), start(drive, storage)
    home.update(state="running")
    until((storage / "held").exists)
    for want in (home.driven, lambda: home.in_turn(lambda words: None)):
        with pytest.raises(InputError, match=f"is being driven by process {driver.pid} on"), want():
            pass
    driver.kill()
    driver.join()
    with home.driven():
        assert str(os.getpid()) in str(home.storage.holder("sweeps/stored"))


def export_and_wait(storage: Path, model: nn.Module, architecture: dict[str, object]) -> None:
    """Write an export, and leave it unfinished for as long as this process lives."""
    with bundle.drafted(storage / "exported", model, architecture, ("weights",)):
        (storage / "held").touch()
        time.sleep(600)


def test_an_export_beside_another_is_an_error_if_the_other_ends_first_and_a_killed_one_leaves_nothing(
    storage: Path, start: Callable[..., BaseProcess], context: TrainingContext
) -> None:
    architecture = context.architecture("mlp")
    model, place = checkpoint.seeded(architecture, 0), storage / "exported"
    killed = start(export_and_wait, storage, model, architecture)
    until((storage / "held").exists)

    def export(meanwhile: Callable[[], None] = lambda: None) -> None:
        with bundle.drafted(place, model, architecture, ("weights",)):
            meanwhile()

    with pytest.raises(InputError, match="exported is not empty"):
        export(meanwhile=export)
    assert checkpoint.read(place)[1] == architecture
    killed.kill()
    killed.join()
    shutil.rmtree(place)
    export()
    assert not list(storage.glob(".draft-exported*"))
    assert torch.equal(next(checkpoint.read(place)[0].parameters()), next(model.parameters()))
