"""Workers are killed and a node is lost during a search: every student finishes, each epoch once, as undisturbed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.command import Command
from tutelage.records.observer import EpochEnded, Event
from tutelage.records.sweeps import sweep_at
from tutelage.records.trial import TrialRecord
from tutelage.spec import loading
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS, TRIALS = 30, 6
NUM_KILLS = 3
BETWEEN_S = (1.0, 3.0)  # from one kill to the next


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A spec of small students, with a storage that all sweeps of this file share, and so a teacher."""
    return {
        "name": "undisturbed", "storage": str(tmp_path_factory.mktemp("storage")), "data": "digits",
        "teacher": {"model": "mlp", "epochs": 1, "accept_weak": True},
        "student": {"model": {"mlp": {"hidden": {"int": [8, 64]}}}, "epochs": EPOCHS},
        "distillation": {"temperature": {"float": [1, 8]}},
        "search": {"trials": TRIALS, "sampler": "random", "checkpoint_epochs": 1},
    }  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, spec: dict[str, Any]) -> list[TrialRecord]:
    """The records of the sweep in which nothing dies."""
    alone = {**spec, "search": {**spec["search"], "concurrency": 1}}
    return pipeline.sweep(loading.from_dict(alone)).records()


def same(record: TrialRecord) -> tuple[Any, ...]:
    """Return what a death must not change: all but times."""
    measures = {name: value for name, value in record.measures.items() if "latency" not in name}
    curve = [(row["epoch"], row["train_loss"], row["accuracy"]) for row in record.curve]
    return record.trial_id, record.state, record.config, measures, curve


def assert_same(records: list[TrialRecord], undisturbed: list[TrialRecord]) -> None:
    """Every student has finished, with each epoch once and the weights' losses and measures of the undisturbed sweep."""
    for record, expected in zip(records, undisturbed, strict=True):
        assert record.state == "finished", record.error
        assert [row["epoch"] for row in record.curve] == list(range(1, EPOCHS + 1))
        assert same(record) == same(expected)


def test_a_search_whose_workers_are_killed_every_few_seconds_gives_the_same_students(
    undisturbed: list[TrialRecord], spec: dict[str, Any], tmp_path: Path
) -> None:
    """On a cluster of its own, where spare processes take the place of those that died; none of them is left."""
    (tmp_path / "spec.yaml").write_text(dump({**spec, "name": "killed"}))
    command, choice, killed = Command("sweep", str(tmp_path / "spec.yaml")), random.Random(0), set[int]()
    while command.is_running():
        if len(killed) < NUM_KILLS and (training := command.training()):
            victim = choice.choice(training)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
            time.sleep(choice.uniform(*BETWEEN_S))
        time.sleep(0.05)
    assert command.end() == 0, command.stderr
    assert len(killed) >= 2, command.stderr
    assert not command.left(within_s=10)
    told = [line for line in command.stderr.splitlines() if "its worker was killed or has crashed" in line]
    assert len(told) == len(killed) and "Traceback" not in command.stderr, command.stderr
    assert_same(sweep_at(spec["storage"], "killed").records(), undisturbed)


def workers_on(node: Any) -> list[str]:
    """Return the ids of the actors on a node that run trials."""
    alive = {name: actor for name, actor in ray._private.state.actors().items() if actor["State"] == "ALIVE"}
    training = {name: actor for name, actor in alive.items() if "Trainable" in actor["ActorClassName"]}
    return [name for name, actor in training.items() if actor["Address"]["NodeID"] == node.node_id]


def test_a_search_that_loses_a_node_of_three_and_gets_it_back_gives_the_same_students(
    undisturbed: list[TrialRecord], spec: dict[str, Any], nodes: Cluster
) -> None:
    lost, _ = nodes.add_node(), nodes.add_node()
    has_epochs, num_lost = threading.Event(), list[int]()

    def lose_and_give_back() -> None:
        has_epochs.wait()
        num_lost.append(len(workers_on(lost)))
        nodes.remove_node(lost, allow_graceful=False)
        nodes.add_node()

    def observer(event: Event) -> None:
        if isinstance(event, EpochEnded):
            has_epochs.set()

    thread = threading.Thread(target=lose_and_give_back)
    thread.start()
    try:
        home = pipeline.sweep(loading.from_dict({**spec, "name": "lost"}), observers=[observer])
    finally:
        has_epochs.set()
        thread.join()
    assert num_lost == [1], "a trial was running on the node"
    assert_same(home.records(), undisturbed)
