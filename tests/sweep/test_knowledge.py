"""Decisions before a distillation: which knowledge is cached, how much of it, and which settings are an error."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config, teacher_of, with_teacher
from tests.plain import architecture_of
from tutelage import losses
from tutelage.errors import InputError, UnreachableError, WorkFailed
from tutelage.networks import checkpoint, cost
from tutelage.records.observer import Event, KnowledgeReady
from tutelage.records.trial import Sizes
from tutelage.spec import loading
from tutelage.storage.local import LocalStorage
from tutelage.sweep import dry_run, knowledge, pair_checks, teachers
from tutelage.training import (
    context,
    distillation,
    knowledge_cache,
    knowledge_jobs,
    loop,
    student,
    student_measures,
    student_sizes,
)
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_plan import KnowledgePlan


def test_a_pickled_plan_has_no_loaded_data(context: TrainingContext) -> None:
    assert len(context.splits["train"]) == 1078 and context.fingerprint
    sent = pickle.dumps(context)
    assert len(sent) < 2000
    again = pickle.loads(sent)
    assert again == context and again.fingerprint == context.fingerprint


@pytest.mark.slow
def test_the_size_before_training_is_that_of_the_trained_student(taught: TrainingContext) -> None:
    for share in (0.0, 0.25, 0.5):
        config = loading.from_dict(SMALL_SPEC).trial_config(
            {**small_config(), "sparsity": {"amount": share, "method": "channels"}}
        )
        planned = student_sizes.presize(config, taught)
        under_way = loop.Training(student.build(config, taught, 0), student.plan(config, taught, 0))
        while not under_way.is_done:
            under_way.epoch()
        measured = student_measures.final_measures(under_way.model, taught)
        assert {key: measured[key] for key in planned.final} == planned.final
        whole = cost.size(student.build(config, taught, 0))["params"]
        assert (planned.initial or planned.final)["params"] == whole, "what it has until it loses its channels"


def test_a_size_that_training_decides_is_not_predicted(taught: TrainingContext) -> None:
    config = {**small_config(), "sparsity": {"amount": 0.5, "method": {"channels": {"allocation": "network"}}}}
    assert student_sizes.presize(loading.from_dict(SMALL_SPEC).trial_config(config), taught) == Sizes()


def test_knowledge_that_is_missing_on_the_node_is_an_error(context: TrainingContext, tmp_path: Path) -> None:
    plan = KnowledgePlan(storage=LocalStorage(tmp_path), teachers=(("a", 1.0),), cache="b")
    with pytest.raises(WorkFailed, match="directory that all of them share"):
        _ = replace(context, knowledge=plan).cached_knowledge


def test_a_teacher_from_elsewhere_must_have_the_datas_classes(tmp_path: Path) -> None:
    about = architecture_of("mlp", names=["zero", "one", "two"])
    checkpoint.write(tmp_path / "teacher", checkpoint.build(about), about)
    given = loading.from_dict({**SMALL_SPEC, "teacher": {"path": str(tmp_path / "teacher")}, "storage": str(tmp_path)})
    with pytest.raises(InputError, match="has 3 classes and the data 10"):
        teachers.ensure_teacher(given, context.context_of(given), print)


def test_a_source_of_other_examples_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((60, 1, 9, 9), np.float32), y=np.arange(60) % 3)
    asked = with_teacher(tmp_path, teacher={"source": {"data": {"arrays": {"path": str(tmp_path / "wide.npz")}}}})
    with pytest.raises(InputError, match=r"have shape \(1, 9, 9\), the data's \(1, 8, 8\)"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)


def test_a_loss_that_does_not_fit_its_pair_is_an_error_before_the_teacher_is_trained(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, distillation={"weight": 0.5, "method": "attention"})
    with pytest.raises(InputError, match="a perceptron has one"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)


def test_half_size_is_an_error_where_a_network_does_not_support_it(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, teacher={"half_size_share": 0.3})
    with pytest.raises(InputError, match=r"half_size_share 0\.3: the network takes no images of half the size"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)


def test_another_teacher_other_data_or_another_policy_has_another_entry(taught: TrainingContext, tmp_path: Path) -> None:
    """The address of a cache depends on everything that its content depends on."""
    addresses = set()
    for teacher, changes in (
        (teacher_of(taught), {}),
        (replace(teacher_of(taught), address="other"), {}),
        (teacher_of(taught), {"seed": 1}),
        (teacher_of(taught), {"augmentation": {"pad_px": 1}}),
        (teacher_of(taught), {"knowledge": {"dtype": "float32"}}),
        (teacher_of(taught), {"knowledge": {"top_k": 3}}),
        (teacher_of(taught), {"distillation": {"method": "fitnet"}}),
    ):
        asked = with_teacher(tmp_path, **changes)
        addresses.add(knowledge.knowledge_plan(asked, context.context_of(asked), [teacher]).cache)
    assert len(addresses) == 7


@pytest.mark.parametrize(
    ("epochs", "trials", "up_front"),
    [(8, 1, True), ({"int": [2, 20]}, 40, True), ({"int": [2, 20]}, 1, False), ({"int": [2, 20]}, None, True)],
)
def test_views_that_few_trials_would_use_are_not_computed_in_advance(
    tmp_path: Path, epochs: Any, trials: int | None, up_front: bool
) -> None:
    asked = with_teacher(
        tmp_path,
        augmentation={"pad_px": 1},
        search={"trials": trials, "hours": 1.0},
        student={"model": "mlp", "epochs": epochs},
    )
    share = knowledge.expected_views(asked) / knowledge.views_of(asked)
    assert (share >= knowledge.FIRST_USE_SHARE) is up_front
    more = with_teacher(tmp_path, augmentation={"pad_px": 1}, knowledge={"views": 162}, student={"model": "mlp", "epochs": 8})
    assert knowledge.views_of(more) == 8, "an epoch shows one view, so no student comes to more of them"


def test_sparse_knowledge_with_a_loss_that_compares_all_classes_is_an_error(taught: TrainingContext, tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, knowledge={"top_k": 3}, distillation={"method": {"kd": {"standardise": True}}})
    with pytest.raises(InputError, match=r"top_k 3: a loss of the search compares all 10 classes"):
        knowledge.knowledge_plan(asked, context.context_of(asked), [teacher_of(taught)])


def test_sparse_knowledge_does_not_apply_to_a_live_teacher_or_to_few_classes(tmp_path: Path) -> None:
    for asked in ({"top_k": 10}, {"top_k": 20}, {"top_k": 3, "mode": "live"}):
        found = with_teacher(tmp_path, knowledge=asked, distillation={"method": "dist"})
        assert knowledge.top_k_of(found, 10) == 0
        knowledge.check_knowledge(found, context.context_of(found))
    assert knowledge.top_k_of(with_teacher(tmp_path, knowledge={"top_k": 3}), 10) == 3


@pytest.mark.parametrize(
    ("temperature", "expected"), [(2.0, 2.0), ({"float": [1.0, 4.0]}, None), ({"choice": [1.0, 2.0]}, None)]
)
def test_sparse_knowledge_is_for_one_temperature_where_a_search_has_one(
    tmp_path: Path, temperature: Any, expected: float | None
) -> None:
    found = with_teacher(tmp_path, knowledge={"top_k": 3}, distillation={"temperature": temperature})
    assert knowledge.temperature_of(found) == expected


def test_drawn_classes_need_a_temperature_of_1_and_a_loss_that_compares_no_logits(tmp_path: Path) -> None:
    at_1: dict[str, Any] = {"temperature": 1.0, "method": "kd"}
    assert knowledge.samples_of(with_teacher(tmp_path, knowledge={"samples": 12}, distillation=at_1), 10) == 12
    live = with_teacher(tmp_path, knowledge={"samples": 12, "mode": "live"}, distillation={"temperature": 4.0})
    assert knowledge.samples_of(live, 10) == knowledge.samples_of(with_teacher(tmp_path), 10) == 0
    for asked, found, why in (
        ({"samples": 12}, {"temperature": {"float": [1.0, 4.0]}}, r"distillation.temperature is 1, 4\. Set it to 1"),
        ({"samples": 12}, {**at_1, "method": "dist"}, "a loss of the search compares all 10 classes"),
        ({"samples": 12, "top_k": 3}, at_1, "samples 12 and knowledge.top_k 3 exclude each other"),
    ):
        with pytest.raises(InputError, match=why):
            knowledge.samples_of(with_teacher(tmp_path, knowledge=asked, distillation=found), 10)


def test_a_local_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = with_teacher(tmp_path, knowledge={"local_dir": str(tmp_path / "file" / "below")})
    with pytest.raises(InputError, match="file is not a writable directory"):
        knowledge.check_knowledge(asked, context.context_of(asked))
    asked = with_teacher(tmp_path, knowledge={"local_dir": str(tmp_path / "not" / "yet")})
    knowledge.check_knowledge(asked, context.context_of(asked))
    assert not (tmp_path / "not").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"knowledge": {"top_k": 3}, "distillation": {"method": "dist"}}, "compares all 10 classes"),
        ({"knowledge": {"mode": "cached", "max_bytes": 10}}, "more than knowledge.max_bytes, 10"),
        ({"distillation": {"method": {"attention": {"of": "heads"}}}}, "has no attention head"),
        ({"student": {"model": "mlp", "epochs": 4, "initialise": "teacher"}}, "no weight of the student"),
        ({"data": {"digits": {"labelled_per_class": 0}}}, "no training example has a label, so no teacher can be trained"),
    ],
)
def test_a_plan_has_the_errors_of_the_sweep(
    tmp_path: Path, mlflow_store: Callable[[Path], str], changes: dict[str, Any], match: str
) -> None:
    (tmp_path / "storage").mkdir()
    mlflow_store(tmp_path / "storage")
    with pytest.raises(InputError, match=match):
        dry_run.plan(with_teacher(tmp_path, **changes))


def test_one_student_that_can_inherit_is_enough_and_any_other_is_rejected_before_training(taught: TrainingContext) -> None:
    config = loading.from_dict(SMALL_SPEC).trial_config(small_config())
    heirs = config.model_copy(update={"student": config.student.model_copy(update={"initialise": "teacher"})})
    with pytest.raises(InputError, match="no weight of the student"):
        student_sizes.presize(heirs, taught)
    same = heirs.model_copy(update={"student": heirs.student.model_copy(update={"model": "mlp"})})
    assert student_sizes.presize(same, taught).final["params"] > 0
    model = {"choice": {"convnet": {"width": 8, "depth": 2}, "mlp": {}}}
    asked = loading.from_dict({**SMALL_SPEC, "student": {"model": model, "epochs": 4, "initialise": "teacher"}})
    room = context.context_of(asked)
    pair_checks.check_pairs(asked, room, checkpoint.build(room.architecture(asked.teacher.model)))


def test_weights_that_no_student_can_start_from_are_an_error_before_training(taught: TrainingContext, tmp_path: Path) -> None:
    asked = loading.from_dict({**SMALL_SPEC, "student": {"model": "mlp", "epochs": 4}})
    room, teacher = context.context_of(asked), checkpoint.build(taught.architecture(asked.teacher.model))
    for name in ("mlp", "convnet"):
        checkpoint.write(tmp_path / name, checkpoint.seeded(room.architecture(name), 0), room.architecture(name))
    pair_checks.check_pairs(asked, replace(room, start=tmp_path / "mlp"), teacher)
    words = r"student\.weights .*convnet: they are of model 'convnet', and the student is model 'mlp'"
    with pytest.raises(InputError, match=words):
        pair_checks.check_pairs(asked, replace(room, start=tmp_path / "convnet"), teacher)


def test_an_error_of_a_further_teacher_is_raised_before_the_first_is_trained(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, more_teachers=[{"path": str(tmp_path / "nowhere")}])
    with pytest.raises(InputError, match="nowhere"):
        teachers.ensure_teachers(asked, context.context_of(asked), print)
    assert not (Path(asked.storage) / "teachers").exists()


def test_raw_applies_to_the_terms_of_a_mixture(taught: TrainingContext) -> None:
    config = loading.from_dict(SMALL_SPEC).trial_config(
        small_config(weight=0.5, method={"mixture": {"terms": {"kd": 1.0, "dkd": 0.5}}})
    )
    outline = taught.teacher_outline
    for raw in (False, True):
        asked = config.model_copy(update={"distillation": config.distillation.model_copy(update={"raw": raw})})
        loss = distillation.distillation_loss(asked, outline, outline)
        assert any(isinstance(module, losses.Scaled) for module in loss.modules()) is not raw


def test_an_unknown_layer_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, knowledge={"layers": ["stage1.O"]}, distillation={"method": "fitnet"})
    with pytest.raises(InputError, match=r"no layer 'stage1\.O'\. The nearest: stage1"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)


def test_phases_that_leave_no_epoch_for_distillation_are_an_error(tmp_path: Path) -> None:
    asked = with_teacher(
        tmp_path, student={"model": "mlp", "epochs": 4, "initialise": "pretrained", "pretrain_epochs": 2, "fine_tune_epochs": 2}
    )
    with pytest.raises(InputError, match=r"2 of pre-training, 0 after sparsification and 2 of fine-tuning leave none"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)


@pytest.mark.parametrize("direction", ["maximise", "minimise"])
def test_shares_by_quality_are_larger_for_the_better_teacher(
    direction: Any, taught: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = replace(taught.built_task.measures[0], direction=direction)
    monkeypatch.setattr(taught.built_task, "measures", (measure,), raising=False)
    weak, strong = (0.5, 0.8) if direction == "maximise" else (0.8, 0.5)
    pair = [replace(teacher_of(taught), measures={"accuracy": value}) for value in (weak, strong)]
    by_quality = knowledge.knowledge_plan(with_teacher(tmp_path, knowledge={"average": "quality"}), taught, pair)
    (_, first), (_, second) = by_quality.teachers
    assert second / first == pytest.approx(1.6)
    equal = knowledge.knowledge_plan(with_teacher(tmp_path), taught, pair)
    assert [share for _, share in equal.teachers] == [1.0, 1.0]


def test_there_are_no_more_views_than_epochs(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, augmentation={"pad_px": 1}, knowledge={"views": 99}, student={"model": "mlp", "epochs": 4})
    assert knowledge.views_of(asked) == 4
    fewer = with_teacher(tmp_path, augmentation={"pad_px": 1}, knowledge={"views": 3}, student={"model": "mlp", "epochs": 4})
    assert knowledge.views_of(fewer) == 3
    assert knowledge.views_of(with_teacher(tmp_path, student={"model": "mlp", "epochs": 4})) == 1, "all views are equal"


def test_the_size_of_the_cache_is_that_of_all_views(taught: TrainingContext, tmp_path: Path) -> None:
    """Ten logits of an example take 20 bytes in half precision."""
    num_train, num_validation = (len(taught.splits[split]) for split in ("train", "validation"))
    plan = taught.knowledge
    assert plan is not None
    half = replace(taught, knowledge=replace(plan, dtype="float16"))
    asked = with_teacher(tmp_path, augmentation={"pad_px": 1}, student={"model": "mlp", "epochs": 4})
    assert knowledge.knowledge_bytes(asked, half) == 20 * (4 * num_train + num_validation)


def test_the_error_for_a_cache_that_is_too_large_names_the_exceeded_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda root: SimpleNamespace(free=1000))
    asked = with_teacher(tmp_path, knowledge={"max_bytes": 2000})
    assert knowledge.why_too_large(asked, 1000) == ""
    assert "has 1,000 left" in knowledge.why_too_large(asked, 1500)
    assert knowledge.why_too_large(asked, 1500, is_there=True) == "", "what exists takes no further room"
    assert "more than knowledge.max_bytes, 2,000" in knowledge.why_too_large(asked, 3000, is_there=True)
    cached = with_teacher(tmp_path, knowledge={"max_bytes": 2000, "mode": "cached"})
    with pytest.raises(UnreachableError, match="left"):
        knowledge.why_too_large(cached, 1500)
    with pytest.raises(InputError, match="max_bytes"):
        knowledge.why_too_large(cached, 3000)


@pytest.mark.parametrize(
    ("mode", "fill", "event"),
    [
        ("cached", "up_front", KnowledgeReady(num_cached=1, num_computed=1, num_bytes=28_740, unix_time_s=0.0)),
        ("cached", "first_use", KnowledgeReady(num_cached=1, num_bytes=28_740, unix_time_s=0.0)),
        ("live", "auto", KnowledgeReady(unix_time_s=0.0)),
    ],
)
def test_the_views_that_are_cached_and_computed_are_an_event(
    mode: str, fill: str, event: Event, taught: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge_cache.Entry, "has", lambda self, split, view: split == "validation")
    monkeypatch.setattr(knowledge_cache, "remove_damaged", lambda entry, views: [])
    monkeypatch.setattr(knowledge_jobs, "write_knowledge", lambda *_: None)
    asked, sent = with_teacher(tmp_path, knowledge={"mode": mode, "fill": fill}), list[Event]()
    made = context.context_of(asked)
    knowledge.ensure_knowledge(asked, made, [teacher_of(taught, asked.storage)], lambda text: None, sent.append)
    assert [replace(one, unix_time_s=0.0) for one in sent] == [event]


def test_features_of_half_size_images_are_not_compared_by_position(tmp_path: Path) -> None:
    asked = with_teacher(
        tmp_path, distillation={"weight": 0.5, "method": "fitnet"}, teacher={"model": "convnet"},
        student={"model": "convnet", "epochs": 4, "half_size_share": 0.5},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"half_size_share 0\.5: the loss compares features"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)


def test_a_label_only_student_without_a_label_is_an_error(tmp_path: Path) -> None:
    asked = with_teacher(tmp_path, distillation={"weight": {"float": [0.0, 0.5]}}, data={"digits": {"labelled_per_class": 0}})
    with pytest.raises(InputError, match="no training example has a label, and a student would be trained label-only"):
        teachers.ensure_teacher(asked, context.context_of(asked), lambda _: None)
