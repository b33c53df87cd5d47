"""What all students of a sweep share: the splits, and the teachers' cached outputs for their examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.contexts import with_plan
from tutelage import plugins
from tutelage.data import SplitName, fingerprint
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.spec.sections import AugmentationConfig
from tutelage.training import inference
from tutelage.training.context import TrainingContext


@pytest.mark.parametrize("seed", [0, 3])
def test_splits_are_the_datas_for_the_contexts_seed(seed: int) -> None:
    found = TrainingContext(data="digits", task="image_classification", seed=seed)
    _, plugin, config = plugins.configure("data", "digits")
    names: tuple[SplitName, ...] = ("train", "validation", "test")
    expected = {name: fingerprint(plugin.read(config, seed, name)) for name in names}
    assert len(set(expected.values())) == 3
    assert {name: fingerprint(found.splits[name]) for name in names[:2]} == {name: expected[name] for name in names[:2]}
    assert fingerprint(found.read("test")) == expected["test"]


def test_a_fingerprint_depends_on_the_bytes_of_both_splits(tmp_path: Path) -> None:
    def with_last(split: str, value: float) -> str:
        arrays = {f"{part}{name}": np.zeros((9, 2), np.float32) if part == "x" else np.arange(9) % 3
                  for part in "xy" for name in ("", "_validation", "_test")}  # fmt: skip
        arrays[split][-1, -1] = value
        np.savez(tmp_path / "data.npz", **arrays)
        stored = {f"{part}_{name}": f"{part}_{name}" for part in "xy" for name in ("validation", "test")}
        data = {"arrays": {"path": str(tmp_path / "data.npz"), "x": "x", "y": "y", **stored}}
        return TrainingContext(data=data, task="tabular_classification", seed=0).fingerprint

    base = with_last("x", 0.0)
    assert with_last("x_validation", 7.0) != base != with_last("x", 7.0)


def test_unlabelled_validation_examples_are_an_error(tmp_path: Path) -> None:
    labels = np.arange(30) % 3
    np.savez(tmp_path / "data.npz", x=np.zeros((30, 2), np.float32), y=labels, xv=np.zeros((3, 2), np.float32), yv=[0, 1, -1])
    data = {"arrays": {"path": str(tmp_path / "data.npz"), "x": "x", "y": "y", "x_validation": "xv", "y_validation": "yv"}}
    with pytest.raises(InputError, match="Only training examples may be unlabelled"):
        _ = TrainingContext(data=data, task="tabular_classification", seed=0).splits


@pytest.fixture(scope="module")
def varied(context: TrainingContext, tmp_path_factory: pytest.TempPathFactory) -> TrainingContext:
    """A context with two augmented views, and a cache for the outputs of its untrained teacher."""
    home = tmp_path_factory.mktemp("varied")
    about = context.architecture("mlp")
    checkpoint.write(home / "teacher", checkpoint.seeded(about, 0), about)
    policy = AugmentationConfig(pad_px=2, flip=True)
    return with_plan(replace(context, augmentation=policy, seed=3), home, dtype="float32", views=2)


@pytest.mark.parametrize("view", [0, 1])
def test_a_cached_view_has_the_teachers_outputs_for_the_examples_as_they_are_shown(varied: TrainingContext, view: int) -> None:
    varied.fill("train", view)
    assert varied.cached_knowledge is not None
    stored = varied.cached_knowledge.view("train", view)["logits.class"]
    rows = torch.arange(40)
    shown = inference.each(
        varied.teacher, varied.built_task, varied.splits["train"], rows, view=view, augmentation=varied.augmentation,
        view_seed=varied.seed,
    )  # fmt: skip
    torch.testing.assert_close(stored[rows], next(shown)[2]["logits.class"])


def test_cached_validation_has_the_outputs_for_validation_as_it_is(varied: TrainingContext) -> None:
    varied.fill("validation", 0)
    rows = torch.tensor([4, 1])
    batch = varied.splits["validation"].take(rows)
    parts = varied.teacher_parts(rows, batch)
    assert parts is not None
    with torch.inference_mode():
        torch.testing.assert_close(parts["logits.class"][:, 0], varied.teacher(*batch.arguments), rtol=1e-4, atol=1e-5)


def test_a_live_teacher_that_is_first_read_for_validation_lets_gradients_through(varied: TrainingContext) -> None:
    """A student without distillation may be measured before the first one with it."""
    assert varied.knowledge is not None
    live = replace(varied, knowledge=replace(varied.knowledge, cache=None))
    rows = torch.tensor([0])
    assert live.teacher_parts(rows, live.splits["validation"].take(rows)) is not None
    assert not any(weight.is_inference() for weight in live.teacher.parameters())


def test_validation_is_cached_with_all_classes_though_training_is_sparse(context: TrainingContext, tmp_path: Path) -> None:
    about = context.architecture("mlp")
    checkpoint.write(tmp_path / "teacher", checkpoint.seeded(about, 0), about)
    sparse = with_plan(context, tmp_path, top_k=3)
    assert set(sparse.layouts("train")) == {"classes.class", "gaps.class", "tails.class"}
    assert set(sparse.layouts("validation")) == {"logits.class"}
