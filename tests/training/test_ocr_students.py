"""Readers of lines learn the same from cached knowledge as from a live teacher, at its stride and at another one."""

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
TEACHER = {"crnn": {"width": 4, "depth": 2, "hidden": 12}}
FEATURES = {"mixture": {"terms": {"ctc_blank": 1.0, "fitnet": 1.0}}}


def spec_of(method: Any, stride: int = 4) -> Spec:
    return loading.from_dict({
        "name": "lines", "task": "ocr", "teacher": {"model": TEACHER},
        "data": {"digit_lines": {"lines": 64, "validation_lines": 20, "longest": 5, "closest_px": 4, "farthest_px": 8}},
        "student": {"model": {"crnn": {"width": 4, "depth": 2, "hidden": 8, "stride": stride}}, "epochs": 1, "batch_size": 16},
        "distillation": {"method": method, "weight": 0.8}, "search": {"objectives": ["character_error_rate", "params"]},
    })  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> TrainingContext:
    return context_of(spec_of("kd"))


@pytest.mark.parametrize(("method", "stride"), [("kd", 4), (FEATURES, 4), ("fitnet", 2)], ids=str)
def test_cached_and_live_knowledge_give_equal_readers(lines: TrainingContext, tmp_path: Path, method: Any, stride: int) -> None:
    loaded = spec_of(method, stride)
    cached = with_untrained_teacher(lines, tmp_path, TEACHER, needs=knowledge.needs_of(loaded))
    own = trained_student(loaded, cached)
    assert cached.knowledge is not None
    live = trained_student(loaded, replace(cached, knowledge=replace(cached.knowledge, cache=None)))
    for name, weight in own.state_dict().items():
        torch.testing.assert_close(live.state_dict()[name], weight, atol=1e-3, rtol=1e-3)
    measures = final_measures(own, cached)
    assert {"character_error_rate", "exact_match", "params"} <= set(measures)
    assert ("agreement" in measures) == (stride == 4), "steps of another stride have no partner"


@pytest.mark.slow
def test_a_students_stride_differs_from_its_teachers_where_features_alone_are_compared(lines: TrainingContext) -> None:
    teacher = checkpoint.build(lines.architecture(TEACHER))
    pair_checks.check_pairs(spec_of("fitnet", 2), lines, teacher)
    for method in ("kd", "ctc_blank", FEATURES):
        with pytest.raises(InputError, match=r"steps of 'characters' for an example of typical length, its teacher"):
            pair_checks.check_pairs(spec_of(method, 2), lines, teacher)


def test_networks_of_too_few_steps_are_an_error_before_anything_is_trained() -> None:
    dense = {"digit_lines": {"lines": 64, "closest_px": -8, "farthest_px": -8, "shortest": 8}}
    narrow = loading.from_dict({
        "name": "lines", "task": "ocr", "data": dense, "teacher": {"model": TEACHER},
        "student": {"model": {"crnn": {"stride": 8}}},
        "search": {"objectives": ["character_error_rate", "params"]},
    })  # fmt: skip
    context = context_of(narrow)
    teacher = checkpoint.build(context.architecture({"crnn": {"stride": 8}}))
    with pytest.raises(InputError, match="training lines have more characters than steps at a stride of 8 columns"):
        pair_checks.check_pairs(narrow, context, teacher)
    with pytest.raises(InputError, match="a stride of 8 columns"):
        presize(narrow.trial_config(narrow.space.resolve(lambda name, domain: None)[0]), context)
