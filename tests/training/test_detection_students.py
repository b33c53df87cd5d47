"""Detectors learn the same from cached knowledge as from a live teacher by each loss; wrong pairs are refused."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contexts import trained_student, with_untrained_teacher
from tests.requirements import needs
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.sweep import knowledge, pair_checks
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.student_measures import final_measures
from tutelage.training.student_sizes import presize

pytestmark = needs(importlib.util.find_spec("mlxtend"), "package mlxtend")
TEACHER = {"detector": {"width": 4, "neck": 8}}
BOTH = {"mixture": {"terms": {"ld": 1.0, "pkd": 1.0}}}


def spec_of(method: Any = "kd", weight: float = 0.8, **changes: Any) -> Spec:
    return loading.from_dict({
        "name": "scenes", "task": {"detection": {"bins": 8}}, "teacher": {"model": TEACHER},
        "data": {"digit_scenes": {"scenes": 32, "labelled": 24, "validation_scenes": 12, "fewest": 0, "side_px": 48}},
        "student": {"model": {"detector": {"width": 2, "neck": 4}}, "epochs": 1, "batch_size": 16},
        "distillation": {"method": method, "weight": weight},
        "search": {"objectives": ["mean_average_precision", "params"]}, **changes,
    })  # fmt: skip


@pytest.fixture(scope="module")
def scenes() -> TrainingContext:
    return context_of(spec_of())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kd", "ld", "pkd", "fgd", "cross_kd", "fitnet", BOTH], ids=str)
def test_cached_and_live_knowledge_give_equal_detectors(scenes: TrainingContext, tmp_path: Path, method: Any) -> None:
    loaded = spec_of(method)
    cached = with_untrained_teacher(scenes, tmp_path, TEACHER, needs=knowledge.needs_of(loaded))
    own = trained_student(loaded, cached)
    assert cached.knowledge is not None
    live = trained_student(loaded, replace(cached, knowledge=replace(cached.knowledge, cache=None)))
    for name, weight in own.state_dict().items():
        torch.testing.assert_close(live.state_dict()[name], weight, atol=1e-3, rtol=1e-3)
    assert {"mean_average_precision", "mean_average_precision_50", "agreement", "params"} <= set(final_measures(own, cached))


@pytest.mark.slow
def test_unlabelled_scenes_are_learned_from_the_teacher_alone_and_empty_ones_from_their_labels(
    scenes: TrainingContext,
) -> None:
    assert scenes.splits["train"].num_labelled == 24
    lengths = scenes.splits["train"].targets["objects"].values.lengths
    assert 0 in lengths[:24].tolist() and (lengths[24:] == 1).all()
    own = trained_student(spec_of(weight=0.0), scenes)
    assert all(weight.isfinite().all() for weight in own.state_dict().values())


def test_pairs_of_other_strides_are_refused_before_anything_is_trained(scenes: TrainingContext) -> None:
    teacher = checkpoint.build(scenes.architecture(TEACHER))
    coarse = {"model": {"detector": {"width": 2, "neck": 4, "stages": 4}}}
    pair_checks.check_pairs(spec_of("pkd", student=coarse), scenes, teacher)
    with pytest.raises(InputError, match="gives 9 steps of 'class' for an example of typical length, its teacher 36"):
        pair_checks.check_pairs(spec_of("kd", student=coarse), scenes, teacher)


def test_a_loss_of_cells_is_an_error_for_images_of_half_the_size(scenes: TrainingContext) -> None:
    teacher = checkpoint.build(scenes.architecture(TEACHER))
    half = {"model": {"detector": {"width": 2, "neck": 4}}, "epochs": 2, "half_size_share": 0.5}
    pair_checks.check_pairs(spec_of(weight=0.0, student=half), scenes, teacher)
    with pytest.raises(
        InputError, match=r"0\.5: for images of half the size, the student gives 9 steps of 'class'.* teacher 36"
    ):
        pair_checks.check_pairs(spec_of("ld", student=half), scenes, teacher)
    with pytest.raises(InputError, match="compares features position by position"):
        pair_checks.check_pairs(spec_of("cross_kd", student=half), scenes, teacher)


def test_half_the_size_of_a_largest_stride_is_an_error_before_anything_is_trained() -> None:
    tiny = {"digit_scenes": {"scenes": 8, "validation_scenes": 4, "test_scenes": 4, "side_px": 32}}
    two = {"model": {"detector": {"width": 1, "neck": 1, "stages": 5, "levels": 2}}, "epochs": 2, "half_size_share": 0.5}
    loaded = spec_of(weight=0.0, data=tiny, student=two)
    context = context_of(loaded)
    with pytest.raises(
        InputError, match=r"takes no images of half the size \(the network gives 2 cells for an image of 16 × 16"
    ):
        pair_checks.check_pairs(loaded, context, checkpoint.build(context.architecture(TEACHER)))


def test_the_sizes_of_a_smaller_detector_are_known_before_its_training(scenes: TrainingContext) -> None:
    whole = spec_of()
    pruned = spec_of(sparsity={"method": "channels", "amount": 0.5})
    sizes = [
        presize(one.trial_config(one.space.resolve(lambda name, domain: None)[0]), scenes).final for one in (whole, pruned)
    ]
    assert sizes[0] and (not sizes[1] or sizes[1]["params"] < sizes[0]["params"])


def contexts(data: Any, seeds: range) -> list[TrainingContext]:
    return [context_of(spec_of(data=data, seed=seed)) for seed in seeds]


def test_a_validation_split_without_an_object_is_an_error_before_anything_is_trained() -> None:
    """A scene in two has no digit."""
    empty = {"digit_scenes": {"scenes": 8, "validation_scenes": 1, "fewest": 0, "most": 1, "side_px": 48}}
    with pytest.raises(InputError, match="the validation split: none of its 1 images has an object"):
        contexts(empty, range(12))
