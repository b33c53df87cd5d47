"""Jobs on a real Ray cluster: teachers that resume, that are the same on one worker and two, trials that are restored."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from tests.conftest import SMALL_SPEC
from tutelage import answers, augment, jobs, knowledge, network, spec, student, teaching, training, watching
from tutelage.errors import InputError, WorkFailed
from tutelage.spec_sections import AugmentationConfig, RecipeConfig

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
@pytest.mark.parametrize("model", [{"mlp": {"hidden": 32}}, {"convnet": {"width": 4}}], ids=["mlp", "convnet"])
def test_two_workers_teach_what_one_does(classroom: student.Classroom, tmp_path: Path, model: dict[str, Any]) -> None:
    """Same global batch, averaged gradients, shared norms: the same teacher, up to the order of floating-point sums."""
    one, curve = jobs.train_teacher(job(classroom, tmp_path / "one", model=model), ONE)
    two, _ = jobs.train_teacher(job(classroom, tmp_path / "two", model=model), replace(ONE, workers=2))
    for left, right in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-3, rtol=1e-2)
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
        jobs.train_teacher(job(classroom, tmp_path, recipe=RECIPE.model_copy(update={"learning_rate": 1e30})), ONE)


@pytest.fixture(scope="module")
def taught(classroom: student.Classroom, tmp_path_factory: pytest.TempPathFactory) -> student.Classroom:
    home = tmp_path_factory.mktemp("knowledge")
    about = classroom.architecture("mlp")
    torch.manual_seed(0)
    network.write(home / "teacher", network.build(about), about)
    jobs.write_knowledge(home / "teacher", classroom, home, "a", "float32", 1, frozenset(), ONE)
    return replace(classroom, knowledge_root=home, knowledge_address="a")


def test_a_classroom_is_sent_without_what_it_has_read(classroom: student.Classroom) -> None:
    assert len(classroom.splits["train"]) == 1078 and classroom.fingerprint
    sent = pickle.dumps(classroom)
    assert len(sent) < 2000
    again = pickle.loads(sent)
    assert again == classroom and again.fingerprint == classroom.fingerprint


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


@pytest.mark.ray
def test_knowledge_of_every_view_is_what_the_teacher_says_of_it(classroom: student.Classroom, tmp_path: Path) -> None:
    varied = replace(classroom, augmentation=AugmentationConfig(pad_px=1, flip=True))
    about = classroom.architecture({"convnet": {"width": 4}})
    network.write(tmp_path / "teacher", network.build(about), about)
    needed = frozenset({"maps", "features"})
    jobs.write_knowledge(tmp_path / "teacher", varied, tmp_path, "a", "float32", 3, needed, LOCAL)
    known = knowledge.read(tmp_path, "a")
    assert known is not None and known.num_views == 3
    assert [stage.name for stage in known.outline.stages] == ["stage1", "stage2"]
    teacher, train = network.read(tmp_path / "teacher")[0], varied.splits["train"]
    rows = torch.tensor([3, 700, 12])
    for view in range(3):
        seen = augment.batch(train, rows, view, varied.augmentation, varied.seed).inputs
        with torch.inference_mode(), watching.watched(teacher) as stages:
            logits = teacher(seen)
        parts = {part: stored[view, rows] for part, stored in known.parts["train"].items()}
        torch.testing.assert_close(parts["logits"][:, 0], logits)
        for name, output in stages.items():
            torch.testing.assert_close(parts[f"features.{name}"], output.flatten(2).transpose(1, 2))
            torch.testing.assert_close(parts[f"maps.{name}"], output.square().mean(1).flatten(1))


def with_teacher(tmp_path: Path, **changes: Any) -> spec.Spec:
    teacher = {"model": {"mlp": {"hidden": 16}}, "epochs": 4, "learning_rate": 0.01, **changes.pop("teacher", {})}
    return spec.from_dict({**SMALL_SPEC, "storage": str(tmp_path / "storage"), "teacher": teacher, **changes})


@pytest.mark.ray
def test_a_weak_teacher_stops_the_sweep_unless_told_otherwise(tmp_path: Path) -> None:
    weak = {"epochs": 1, "learning_rate": 1e-6}
    asked = with_teacher(tmp_path, teacher=weak)
    room = teaching.classroom_of(asked)
    with pytest.raises(WorkFailed, match=r"teacher is weak.*a linear classifier reaches 0\.9.*accept_weak"):
        teaching.ensure_teacher(asked, room, lambda _: None)
    said: list[str] = []
    accepted = with_teacher(tmp_path, teacher={**weak, "accept_weak": True})
    assert teaching.ensure_teacher(accepted, room, said.append).measures["accuracy"] < 0.5
    strict = with_teacher(tmp_path, teacher={"min_accuracy": 0.999})
    with pytest.raises(WorkFailed, match=r"min_accuracy asks for 0\.9990"):
        teaching.ensure_teacher(strict, room, lambda _: None)


@pytest.mark.ray
def test_a_teacher_learns_its_source_and_is_fine_tuned_to_the_data(tmp_path: Path) -> None:
    """Sixty scans teach little; after a thousand others of the same kind they are enough."""
    whole = teaching.classroom_of(with_teacher(tmp_path)).splits["train"]
    for name, rows in (("few", slice(60)), ("many", slice(60, None))):
        np.savez(tmp_path / f"{name}.npz", x=whole.inputs[rows].numpy(), y=whole.labels[rows, 0].numpy())
    few, many = ({"arrays": {"path": str(tmp_path / f"{name}.npz")}} for name in ("few", "many"))
    accuracy = {}
    for source in (None, {"data": many, "epochs": 8}):
        teacher = {"source": source, "epochs": 3, "accept_weak": True}
        asked = with_teacher(tmp_path, data=few, teacher=teacher)
        made = teaching.ensure_teacher(asked, teaching.classroom_of(asked), lambda _: None)
        model, _ = network.read(made.directory)
        digits = teaching.classroom_of(with_teacher(tmp_path))
        accuracy[source is None] = answers.accuracy_of(model, digits.built_task, digits.splits["validation"])
    assert accuracy[False] > accuracy[True] + 0.1


def test_a_source_of_other_examples_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((60, 1, 9, 9), np.float32), y=np.arange(60) % 3)
    asked = with_teacher(tmp_path, teacher={"source": {"data": {"arrays": {"path": str(tmp_path / "wide.npz")}}}})
    with pytest.raises(InputError, match=r"have shape \(1, 9, 9\), the data's \(1, 8, 8\)"):
        teaching.ensure_teacher(asked, teaching.classroom_of(asked), lambda _: None)


def test_a_loss_that_cannot_serve_its_pair_is_told_before_the_teacher_is_trained(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, distillation={"weight": 0.5, "method": "attention"})
    with pytest.raises(InputError, match="a perceptron looks everywhere"):
        teaching.ensure_teacher(asked, teaching.classroom_of(asked), lambda _: None)


def test_half_size_is_refused_where_a_network_cannot_take_it(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, teacher={"half_size_share": 0.3})
    with pytest.raises(InputError, match=r"half_size_share 0\.3: the network takes no images of half the size"):
        teaching.ensure_teacher(asked, teaching.classroom_of(asked), lambda _: None)


def test_knowledge_that_is_too_large_is_refused_before_it_is_written(taught: student.Classroom, tmp_path: Path) -> None:
    assert taught.knowledge_root is not None
    asked = with_teacher(tmp_path, knowledge={"max_bytes": 1000.0})
    teacher = teaching.Teacher(directory=taught.knowledge_root / "teacher", address="t", measures={})
    with pytest.raises(InputError, match=r"takes 28,740 bytes, more than knowledge\.max_bytes, 1,000"):
        teaching.ensure_knowledge(asked, teaching.classroom_of(asked), teacher, lambda _: None)
    assert not list((tmp_path / "storage" / "knowledge").iterdir())
