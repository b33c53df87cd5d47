"""Students trained again: with which seeds, in which config, and only where that is not on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stored_sweep import spec_tree
from tutelage.networks import checkpoint
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import Candidate, TrialRecord, candidate_ids
from tutelage.selection.retrain import FRESH_SEED, Retraining, label_only
from tutelage.storage import Storage
from tutelage.training import student_jobs
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import Workers

Make = Callable[..., TrialRecord]


@pytest.fixture
def home(tmp_path: Path) -> SweepDir:
    return sweeps.create(tmp_path, "stored", yaml.safe_dump(spec_tree(tmp_path)))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], int]]:
    """What is trained, as (config, seed); each has the accuracy 0.001 times its seed."""
    found: list[tuple[dict[str, Any], int]] = []

    def train(
        configs: Mapping[str, tuple[dict[str, Any], int]], context: TrainingContext, students: Storage, workers: Workers
    ) -> Iterator[tuple[str, list[dict[str, float]]]]:
        for name, (config, seed) in configs.items():
            found.append((config, seed))
            students.put(f"{name}/{checkpoint.WEIGHTS}", "")
            yield name, [{"accuracy": seed / 1000, "elapsed_s": 1.0}]

    monkeypatch.setattr(student_jobs, "train_students", train)
    return found


def retraining(home: SweepDir, context: TrainingContext, num_seeds: int = 2) -> Retraining:
    return Retraining(home=home, context=context, workers=Workers(workers=0, cpus=1, gpus=0), num_seeds=num_seeds)


def test_a_label_only_student_has_nothing_of_its_teacher() -> None:
    config = {
        "student": {"model": "mlp", "initialise": "teacher", "epochs": 3}, "distillation": {"weight": 0.7, "temperature": 2.0},
        "sparsity": {"amount": 0.5},
    }  # fmt: skip
    assert label_only(config) == {
        "student": {"model": "mlp", "initialise": "random", "epochs": 3}, "distillation": {"weight": 0.0, "temperature": 2.0},
        "sparsity": {"amount": 0.5},
    }  # fmt: skip
    assert config["distillation"] == {"weight": 0.7, "temperature": 2.0}, "the config itself does not change"


def test_fresh_seeds_are_others_than_the_searchs(home: SweepDir, context: TrainingContext) -> None:
    assert retraining(home, context).seeds == [FRESH_SEED + context.seed, FRESH_SEED + context.seed + 1]


def test_students_are_trained_with_the_seeds_that_they_lack(
    home: SweepDir, context: TrainingContext, make_record: Make, trained: list[tuple[dict[str, Any], int]]
) -> None:
    record = make_record(0, accuracy=0.5)
    assert retraining(home, context, 1).distilled([record]) == {"t0000": [1.0]}
    assert [seed for _, seed in trained] == [1000]
    assert retraining(home, context).confirmed() == {}, "one of two seeds is missing"
    assert retraining(home, context).distilled([record]) == {"t0000": [1.0, 1.001]}
    assert trained == [(record.config, 1000), (record.config, 1001)]
    retraining(home, context).distilled([record])
    assert len(trained) == 2


def test_a_student_whose_weights_are_gone_is_trained_again(
    home: SweepDir, context: TrainingContext, make_record: Make, trained: list[tuple[dict[str, Any], int]]
) -> None:
    record = make_record(0, accuracy=0.5)
    retraining(home, context, 1).distilled([record])
    (lost,) = home.files.local_path("retrained").rglob(checkpoint.WEIGHTS)
    lost.unlink()
    retraining(home, context, 1).distilled([record])
    assert len(trained) == 2


def test_a_baseline_is_trained_with_the_searchs_seed_and_the_fresh_ones(
    home: SweepDir, context: TrainingContext, make_record: Make, trained: list[tuple[dict[str, Any], int]]
) -> None:
    record = make_record(0, accuracy=0.5)
    own, fresh = retraining(home, context).label_only(record)
    assert (own, fresh) == (context.seed / 1000, [1.0, 1.001])
    assert [seed for _, seed in trained] == [context.seed, 1000, 1001]
    assert all(config == label_only(record.config) for config, _ in trained)
    assert retraining(home, context).confirmed() == {}, "a baseline is not a distilled student"


def test_rungs_of_a_ladder_are_trained_once_up_to_the_highest_selected_one(
    home: SweepDir, context: TrainingContext, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = tuple(
        Candidate(measures={"accuracy": 0.9}, amount=rung / 4, made="cut", rung=rung, config={"rung": rung})
        for rung in range(4)
    )  # fmt: skip
    whole, first, second, third = replace(make_record(3), candidates=each).per_candidate()
    trained = list[tuple[int, int]]()

    def train(
        configs: Mapping[str, tuple[dict[str, Any], int]], context: TrainingContext, students: Storage, workers: Workers
    ) -> Iterator[tuple[str, list[dict[str, float]]]]:
        for name, (config, seed) in configs.items():
            trained.append((config["rung"], seed))
            for one in candidate_ids(name, config["rung"] + 1, are_named=True):
                students.put(f"{one}/{checkpoint.WEIGHTS}", "")
            yield name, [{"accuracy": 0.1 * rung, "elapsed_s": 1.0} for rung in range(config["rung"] + 1)]

    monkeypatch.setattr(student_jobs, "train_students", train)
    own = retraining(home, context, 1)
    assert own.distilled([whole]) == {"t0003.0": [0.0]} and trained == [(0, 1000)]
    assert own.distilled([second, first]) == {"t0003.2": [0.2], "t0003.1": [0.1]} and trained[1:] == [(2, 1000)]
    own.distilled([whole, first, second])
    assert len(trained) == 2, "what a training up to a higher rung gave is on record"
    assert own.distilled([third, whole])["t0003.3"] == pytest.approx([0.3]) and trained[2:] == [(3, 1000)]
