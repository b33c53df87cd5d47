"""Jobs on a real Ray cluster: teachers that resume, that are the same on one worker and two, trials that are restored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from tests.conftest import SMALL_SPEC
from tutelage import answers, jobs, knowledge, network, spec, student, teaching, training
from tutelage.errors import InputError, WorkFailed
from tutelage.spec_sections import RecipeConfig

pytestmark = pytest.mark.usefixtures("ray_cluster")
ONE = jobs.Workers(workers=1, cpus=1, gpus=0)
LOCAL = jobs.Workers(workers=0, cpus=1, gpus=0)
RECIPE = RecipeConfig(epochs=3, batch_size=64, learning_rate=0.005, weight_decay=0.01)


@pytest.fixture(scope="module")
def classroom() -> student.Classroom:
    return student.Classroom(data="digits", task="image_classification", seed=0)


def job(classroom: student.Classroom, tmp_path: Path, **changes: Any) -> jobs.TeacherJob:
    fields: dict[str, Any] = {"model": {"mlp": {"hidden": 32}}, "recipe": RECIPE, "address": "a", **changes}
    return jobs.TeacherJob(classroom=classroom, runs_dir=tmp_path / "runs", **fields)


def small_config(**distillation: Any) -> dict[str, Any]:
    loaded = spec.from_dict({
        **SMALL_SPEC,
        "student": {"model": {"convnet": {"width": 4}}, "epochs": 4},
        "distillation": {"weight": 0.0, **distillation},
        "sparsity": {"structured": 0.5},
    })  # fmt: skip
    return loaded.space.resolve(lambda name, domain: None)[0]


@pytest.mark.ray
def test_two_workers_teach_what_one_does(classroom: student.Classroom, tmp_path: Path) -> None:
    """Same global batch, averaged gradients: the same teacher, up to the order of floating-point sums."""
    one, curve = jobs.train_teacher(job(classroom, tmp_path / "one"), ONE)
    two, _ = jobs.train_teacher(job(classroom, tmp_path / "two"), replace(ONE, workers=2))
    for left, right in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-3)
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    assert not list((tmp_path / "one" / "runs").iterdir()), "a finished teacher's checkpoints are removed"


FAILING = """
import pathlib
from pydantic import Field
from tutelage.models import mlp
from tutelage.plugins import PluginConfig
from torch import nn

class Fragile(nn.Module):
    def __init__(self, inner, marker):
        super().__init__()
        self.inner, self.marker, self.calls = inner, pathlib.Path(marker), 0
    def forward(self, inputs):
        self.calls += 1
        if self.training and self.calls > 30 and not self.marker.exists():
            self.marker.write_text("once")
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(inputs)

class Model:
    SPACE = {}
    class Config(PluginConfig):
        marker: str = Field(description="file")
    @staticmethod
    def build(config, example_shape, num_classes):
        return Fragile(mlp.build(mlp.Config(hidden=32), example_shape, num_classes), config.marker)
"""


@pytest.mark.ray
def test_a_teacher_goes_on_from_its_last_epoch_when_its_worker_is_lost(classroom: student.Classroom, tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FAILING)
    marker = tmp_path / "killed"

    @ray.remote(runtime_env={"env_vars": {"PYTHONPATH": str(tmp_path)}}, num_cpus=0)
    def train() -> Any:
        import sys

        sys.path.insert(0, str(tmp_path))
        fragile = job(classroom, tmp_path, model={"fragile:Model": {"marker": str(marker)}})
        model, curve = jobs.train_teacher(fragile, ONE)
        return {k.removeprefix("inner."): v for k, v in model.state_dict().items()}, curve

    weights, curve = ray.get(train.remote())
    assert marker.exists(), "the worker was killed in the middle of its second epoch"
    assert [row["epoch"] for row in curve] == [1, 2, 3]
    whole, _ = jobs.train_teacher(job(classroom, tmp_path / "whole"), ONE)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(weights[name], tensor)


@pytest.mark.ray
def test_a_teacher_that_fails_says_why_in_its_own_words(classroom: student.Classroom, tmp_path: Path) -> None:
    with pytest.raises(WorkFailed, match=r"loss became (nan|inf)"):
        jobs.train_teacher(job(classroom, tmp_path, recipe=replace(RECIPE, learning_rate=1e30)), ONE)


@pytest.fixture(scope="module")
def taught(classroom: student.Classroom, tmp_path_factory: pytest.TempPathFactory) -> student.Classroom:
    home = tmp_path_factory.mktemp("knowledge")
    about = classroom.architecture("mlp")
    torch.manual_seed(0)
    network.write(home / "teacher", network.build(about), about)
    jobs.write_knowledge(home / "teacher", classroom, home, "a", "float32", 1, frozenset(), ONE)
    return replace(classroom, knowledge_root=home, knowledge_address="a")


@pytest.mark.ray
def test_cached_knowledge_is_what_the_teacher_answers(taught: student.Classroom) -> None:
    assert taught.known is not None
    assert taught.knowledge_root is not None
    teacher, _ = network.read(taught.knowledge_root / "teacher")
    for split, examples in taught.splits.items():
        live = answers.logits_of(teacher, taught.built_task, examples)
        torch.testing.assert_close(taught.known.parts[split]["logits"], live.unsqueeze(0))


@pytest.mark.ray
def test_a_trial_is_restored_to_the_same_student(taught: student.Classroom, tmp_path: Path) -> None:
    config = small_config(weight=0.5)

    def open_trial(name: str) -> jobs.StudentTrial:
        return jobs.StudentTrial(config, taught, 0, tmp_path / name, LOCAL)

    whole, first = open_trial("whole"), open_trial("parts")
    rows = [whole.step() for _ in range(4)]
    assert [row["done"] for row in rows] == [False, False, False, True]
    for _ in range(3):
        first.step()
    first.save(tmp_path / "trial.pt")
    second = open_trial("parts")
    second.restore(tmp_path / "trial.pt")
    row = second.step()
    assert row["measures"] == rows[-1]["measures"]
    assert [r["accuracy"] for r in row["curve"]] == [r["accuracy"] for r in rows[-1]["curve"]]
    weights = [network.read(tmp_path / name)[0].state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values(), strict=True))


@pytest.mark.ray
def test_a_trial_in_a_worker_group_is_the_trial_in_its_actor(taught: student.Classroom, tmp_path: Path) -> None:
    config = small_config(weight=0.5)
    local = jobs.StudentTrial(config, taught, 0, tmp_path / "local", LOCAL)
    for _ in range(4):
        last = local.step()
    group = jobs.StudentTrial(config, taught, 0, tmp_path / "group", ONE)
    row = group.step()
    assert row["done"]
    assert [r["epoch"] for r in row["curve"]] == [1, 2, 3, 4]
    assert row["measures"] == pytest.approx(last["measures"], rel=1e-4)


def test_what_is_presized_is_what_training_leaves(taught: student.Classroom) -> None:
    for share in (0.0, 0.25, 0.5):
        config = spec.from_dict(SMALL_SPEC).trial_config(
            {**small_config(), "sparsity": {"structured": share, "method": "channels"}}
        )
        planned = student.presize(config, taught)
        under_way = training.Training(student.build(config, taught, 0), student.lesson(config, taught, 0))
        while not under_way.is_done:
            under_way.epoch()
        measured = student.final_measures(under_way.model, taught)
        assert {key: measured[key] for key in planned} == planned


def test_a_size_that_training_decides_is_not_guessed(taught: student.Classroom) -> None:
    config = {**small_config(), "sparsity": {"structured": 0.5, "method": {"channels": {"uniform": False}}}}
    assert student.presize(spec.from_dict(SMALL_SPEC).trial_config(config), taught) == {}


def test_knowledge_that_is_not_on_the_node_says_so(classroom: student.Classroom, tmp_path: Path) -> None:
    elsewhere = replace(classroom, knowledge_root=tmp_path, knowledge_address="b")
    with pytest.raises(WorkFailed, match="directory that all of them share"):
        _ = elsewhere.known


def test_a_teacher_from_elsewhere_must_have_the_datas_classes(tmp_path: Path) -> None:
    about = {"model": "mlp", "example_shape": [1, 8, 8], "class_names": ["zero", "one", "two"]}
    network.write(tmp_path / "teacher", network.build(about), about)
    given = spec.from_dict({**SMALL_SPEC, "teacher": {"path": str(tmp_path / "teacher")}, "storage": str(tmp_path)})
    with pytest.raises(InputError, match="knows 3 classes, the data has 10"):
        teaching.ensure_teacher(given, teaching.classroom_of(given), print)


@pytest.mark.ray
def test_a_damaged_cache_is_made_anew_and_told(taught: student.Classroom, tmp_path: Path) -> None:
    given = spec.from_dict({**SMALL_SPEC, "storage": str(tmp_path)})
    assert taught.knowledge_root is not None
    teacher = teaching.Teacher(directory=taught.knowledge_root / "teacher", address="t", measures={})
    said: list[str] = []
    room = teaching.ensure_knowledge(given, teaching.classroom_of(given), teacher, said.append)
    assert room.knowledge_root is not None
    assert room.knowledge_address is not None
    file = room.knowledge_root / room.knowledge_address / "train" / "logits.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-2] + b"xx")
    again = teaching.ensure_knowledge(given, teaching.classroom_of(given), teacher, said.append)
    assert any("made anew" in line for line in said)
    assert again.knowledge_address == room.knowledge_address
    assert file.read_bytes() == whole
    assert knowledge.read(room.knowledge_root, room.knowledge_address) is not None
