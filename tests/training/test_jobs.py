"""Jobs on a real Ray cluster: teachers that resume, that are the same on one worker and two, trials that are restored."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config, teacher_of, with_plan, with_teacher
from tests.plain import Plain, plain_signature
from tutelage.errors import InputError, WorkFailed
from tutelage.networks import checkpoint, top_k
from tutelage.networks import stages as network_stages
from tutelage.spec import loading
from tutelage.spec.sections import PLAIN, AugmentationConfig, RecipeConfig
from tutelage.storage.local import LocalStorage
from tutelage.sweep import knowledge, teachers
from tutelage.training import (
    augment,
    context,
    inference,
    knowledge_cache,
    knowledge_jobs,
    ray_train,
    student_jobs,
    teacher_jobs,
)
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
ONE = ray_train.Workers(workers=1, cpus=1, gpus=0)
LOCAL = ray_train.Workers(workers=0, cpus=1, gpus=0)
RECIPE = RecipeConfig(epochs=3, batch_size=64, learning_rate=0.005, weight_decay=0.01)


def job(context: TrainingContext, tmp_path: Path, **changes: Any) -> teacher_jobs.TeacherJob:
    fields: dict[str, Any] = {"model": {"mlp": {"hidden": 32}}, "recipe": RECIPE, "address": "a", **changes}
    return teacher_jobs.TeacherJob(context=context, storage=LocalStorage(tmp_path), **fields)


def test_two_workers_train_the_same_teacher_as_one(context: TrainingContext, tmp_path: Path) -> None:
    """Same global batch, averaged gradients, shared norms: the same teacher, up to the order of floating-point sums."""
    model = {"convnet": {"width": 4}}
    one = teacher_jobs.train_teacher(job(context, tmp_path / "one", model=model), ONE)
    measured = job(context, tmp_path / "two", model=model, execution="measured")
    two = teacher_jobs.train_teacher(measured, replace(ONE, workers=2))
    for left, right in zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, atol=1e-3, rtol=1e-2)
    assert [row["epoch"] for row in one.curve] == [1, 2, 3]
    assert one.timed_ms == {} and list(two.timed_ms) == ["plain"] and two.execution == PLAIN, "so short a training stays plain"
    assert not list((tmp_path / "one" / "runs").iterdir()), "a finished teacher's checkpoints are removed"


def test_a_teacher_resumes_from_its_last_epoch_after_a_lost_worker(context: TrainingContext, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    fragile = job(context, tmp_path, model={"tests.fragile:Fragile": {"marker": str(marker)}})
    found = teacher_jobs.train_teacher(fragile, ONE)
    assert marker.exists(), "the worker was killed in the middle of its second epoch"
    assert [row["epoch"] for row in found.curve] == [1, 2, 3]
    whole = teacher_jobs.train_teacher(job(context, tmp_path / "whole"), ONE).model.state_dict()
    for name, tensor in found.model.state_dict().items():
        torch.testing.assert_close(tensor, whole[name.removeprefix("inner.")])


def test_a_job_of_one_worker_runs_in_the_process_of_the_job_before_it() -> None:
    first, second = (ray_train.fit(lambda: (os.getpid(), torch.get_num_threads()), ONE) for _ in range(2))
    assert first == second
    assert first[0] != os.getpid()
    assert first[1] == 1


def test_the_error_of_a_failed_teacher_has_the_original_message(context: TrainingContext, tmp_path: Path) -> None:
    with pytest.raises(WorkFailed, match=r"loss became (nan|inf)"):
        teacher_jobs.train_teacher(job(context, tmp_path, recipe=RECIPE.model_copy(update={"learning_rate": 1e30})), ONE)


def test_cached_knowledge_equals_the_teachers_outputs(taught: TrainingContext) -> None:
    assert taught.cached_knowledge is not None
    for split, examples in taught.splits.items():
        for rows, _, live in inference.each(taught.teacher, taught.built_task, examples, torch.arange(len(examples))):
            cached = taught.cached_knowledge.view(split, 0)["logits.class"][rows]
            torch.testing.assert_close(cached, live["logits.class"])


def test_a_pickled_context_has_no_loaded_data(taught: TrainingContext) -> None:
    assert taught.cached_knowledge is not None
    taught.cached_knowledge.view("train", 0)
    assert len(pickle.dumps(taught.cached_knowledge)) < 4000


def test_live_and_cached_knowledge_dense_or_sparse_give_the_same_student(taught: TrainingContext, tmp_path: Path) -> None:
    """Sparsely, all ten classes but one are kept: then nothing is lost but rounding."""
    assert taught.knowledge is not None
    (tmp_path / "teacher").symlink_to(taught.knowledge.teacher_paths()[0])
    live = replace(taught, knowledge=replace(taught.knowledge, cache=None))
    sparse = with_plan(taught, tmp_path, dtype="float32", top_k=9)
    knowledge_jobs.write_knowledge(sparse, [("train", 0), ("validation", 0)], ONE)
    assert sparse.cached_knowledge is not None and set(sparse.cached_knowledge.view("train", 0)) == {
        f"{part}.class" for part in top_k.PARTS
    }
    config = small_config(weight=0.5)
    rows = {}
    for name, room in (("live", live), ("cached", taught), ("sparse", sparse)):
        trial = student_jobs.StudentTrial(config, room, 0, LocalStorage(tmp_path), name, LOCAL)
        rows[name] = [trial.step() for _ in range(4)]
    for name, apart in (("cached", 0.0), ("sparse", 2 / 359)):  # an example or two of validation turn on a rounding
        assert [r["train_loss"] for r in rows["live"]] == pytest.approx([r["train_loss"] for r in rows[name]], rel=1e-4)
        assert rows["live"][-1]["measures"] == pytest.approx(rows[name][-1]["measures"], rel=1e-3, abs=apart)


def test_views_are_cached_on_first_use(taught: TrainingContext, tmp_path: Path) -> None:
    assert taught.knowledge is not None
    (tmp_path / "teacher").symlink_to(taught.knowledge.teacher_paths()[0])
    room = with_plan(replace(taught, augmentation=AugmentationConfig(pad_px=1)), tmp_path, views=4)
    room.fill("validation", 0)
    trial = student_jobs.StudentTrial(small_config(weight=0.5), room, 0, LocalStorage(tmp_path), "student", LOCAL)
    for epoch in range(3):
        trial.step()
        assert sorted(path.name for path in (tmp_path / "a" / "train").glob("0*")) == [f"{v:04d}" for v in range(epoch + 1)]


def test_a_trial_is_restored_to_the_same_student(taught: TrainingContext, tmp_path: Path) -> None:
    config = small_config(weight=0.5)

    def open_trial(name: str) -> student_jobs.StudentTrial:
        return student_jobs.StudentTrial(config, taught, 0, LocalStorage(tmp_path), name, LOCAL)

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
    weights = [checkpoint.read(tmp_path / name)[0].state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values(), strict=True))


def test_a_worker_group_and_an_actor_train_the_same_student(taught: TrainingContext, tmp_path: Path) -> None:
    config = small_config(weight=0.5)
    local = student_jobs.StudentTrial(config, taught, 0, LocalStorage(tmp_path), "local", LOCAL)
    for _ in range(4):
        last = local.step()
    group = student_jobs.StudentTrial(config, taught, 0, LocalStorage(tmp_path), "group", ONE)
    rows = [group.step()]
    while not rows[-1]["done"]:
        rows.append(group.step())
    row = rows[-1]
    assert [r["epoch"] for r in row["curve"]] == [1, 2, 3, 4] == [r["epoch"] for r in rows]
    assert row["measures"] == pytest.approx(last["measures"], rel=1e-4)


def test_a_damaged_cache_is_rebuilt_with_a_message(taught: TrainingContext, tmp_path: Path) -> None:
    given = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path)})
    said: list[str] = []
    room = knowledge.ensure_knowledge(given, context.context_of(given), [teacher_of(taught, tmp_path)], said.append)
    assert room.knowledge is not None and room.knowledge.entry is not None
    file = room.knowledge.entry.place("train", 0) / "logits.class.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-2] + b"xx")
    room.knowledge.entry.storage.put(knowledge_cache.ABOUT, "{")
    again = knowledge.ensure_knowledge(given, context.context_of(given), [teacher_of(taught, tmp_path)], said.append)
    assert sum("is computed again" in line for line in said) == 2, "of the view, and of what it is of"
    assert again == room
    assert file.read_bytes() == whole


def test_cached_knowledge_of_every_view_equals_the_teachers_outputs(context: TrainingContext, tmp_path: Path) -> None:
    varied = replace(context, augmentation=AugmentationConfig(pad_px=1, flip=True))
    about = context.architecture({"convnet": {"width": 4}})
    checkpoint.write(tmp_path / "teacher", checkpoint.build(about), about)
    room = with_plan(varied, tmp_path, dtype="float32", views=3, needs=frozenset({"maps", "features"}))
    knowledge_jobs.write_knowledge(room, [("train", view) for view in range(3)], LOCAL)
    assert room.cached_knowledge is not None
    assert [stage.name for stage in room.teacher_outline.stages] == ["stage1", "stage2"]
    rows = torch.tensor([3, 700, 12])
    for view in range(3):
        seen = augment.batch(varied.splits["train"], rows, view, varied.augmentation, varied.seed).inputs["inputs"]
        with torch.inference_mode(), network_stages.watched(room.teacher) as stages:
            logits = room.teacher(seen)
        parts = {part: stored[rows] for part, stored in room.cached_knowledge.view("train", view).items()}
        torch.testing.assert_close(parts["logits.class"][:, 0], logits)
        for name, output in stages.items():
            torch.testing.assert_close(parts[f"features.{name}"], output.flatten(2).transpose(1, 2))
            torch.testing.assert_close(parts[f"maps.{name}"], output.square().mean(1).flatten(1))


def test_a_weak_teacher_stops_the_sweep_unless_it_is_accepted(tmp_path: Path) -> None:
    weak = {"epochs": 1, "learning_rate": 1e-6}
    asked = with_teacher(tmp_path, teacher=weak)
    room = context.context_of(asked)
    with pytest.raises(WorkFailed, match=r"teacher is weak.*a simple model reaches 0\.9.*accept_weak"):
        teachers.ensure_teacher(asked, room, lambda _: None)
    said: list[str] = []
    accepted = with_teacher(tmp_path, teacher={**weak, "accept_weak": True})
    assert teachers.ensure_teacher(accepted, room, said.append).measures["accuracy"] < 0.5
    strict = with_teacher(tmp_path, teacher={"required_quality": 0.999})
    with pytest.raises(WorkFailed, match=r"required_quality is 0\.9990"):
        teachers.ensure_teacher(strict, room, lambda _: None)


def test_a_teacher_is_trained_on_its_source_and_fine_tuned_on_the_data(tmp_path: Path) -> None:
    """Sixty scans are few; after a thousand others of the same kind they are enough."""
    whole = Plain(context.context_of(with_teacher(tmp_path)).splits["train"])
    for name, rows in (("few", slice(60)), ("many", slice(60, None))):
        np.savez(tmp_path / f"{name}.npz", x=whole.inputs[rows].numpy(), y=whole.labels[rows].numpy())
    few, many = ({"arrays": {"path": str(tmp_path / f"{name}.npz")}} for name in ("few", "many"))
    accuracy = {}
    for source in (None, {"data": many, "epochs": 8}):
        teacher = {"source": source, "epochs": 3, "accept_weak": True}
        asked = with_teacher(tmp_path, data=few, teacher=teacher)
        made = teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)
        model, _ = checkpoint.read(made.directory)
        digits = context.context_of(with_teacher(tmp_path))
        accuracy[source is None] = inference.measured(model, digits.built_task, digits.splits["validation"])["accuracy"]
    assert accuracy[False] > accuracy[True] + 0.1


BYTES = 28_740


@pytest.mark.parametrize(("room", "mode"), [(BYTES - 1, "cached"), (BYTES - 1, "auto"), (BYTES, "auto"), (BYTES, "live")])
def test_knowledge_over_its_budget_is_an_error_or_live_before_any_byte_is_written(
    taught: TrainingContext, tmp_path: Path, room: int, mode: str
) -> None:
    asked = with_teacher(tmp_path, knowledge={"max_bytes": float(room), "mode": mode})
    said = list[str]()

    def ensure() -> TrainingContext:
        return knowledge.ensure_knowledge(asked, context.context_of(asked), [teacher_of(taught, asked.storage)], said.append)

    if room < BYTES and mode == "cached":
        with pytest.raises(InputError, match=r"takes 28,740 bytes, more than knowledge\.max_bytes, 28,739.*mode: live"):
            ensure()
        assert not (tmp_path / "storage" / "knowledge").exists()
        return
    made = ensure()
    is_live = room < BYTES or mode == "live"
    assert made.knowledge is not None and (made.knowledge.cache is None) is is_live
    assert any("runs during each student's training" in line for line in said) is is_live
    rows = torch.arange(len(made.splits["validation"]))
    parts = made.teacher_parts(rows, made.splits["validation"].take(rows))
    assert parts is not None and parts["logits.class"].shape == (359, 1, 10)


def test_several_teachers_are_one_with_averaged_logits(context: TrainingContext, tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("second", 1)):
        about = context.architecture("mlp")
        torch.manual_seed(seed)
        checkpoint.write(tmp_path / name, checkpoint.build(about), about)
    plan = KnowledgePlan(
        storage=LocalStorage(tmp_path), teachers=(("first", 0.9), ("second", 0.6)), needs=frozenset({"features"})
    )
    room = replace(context, knowledge=plan)
    inputs = context.splits["validation"].take(slice(5)).inputs["inputs"]
    own = [checkpoint.read(tmp_path / name)[0](inputs) for name in ("first", "second")]
    expected = ((0.9 * own[0] + 0.6 * own[1]) / 1.5).softmax(-1)
    torch.testing.assert_close(room.teacher(inputs).softmax(-1), expected)
    assert (
        room.teacher_outline.stages
        == network_stages.outline_of(checkpoint.read(tmp_path / "first")[0], plain_signature()).stages
    )
