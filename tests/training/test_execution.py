"""Execution modes: which are timed, which is chosen, and that no mode changes the trained network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.plain import architecture_of, plain_signature
from tutelage import plugins
from tutelage.data import UNKNOWN
from tutelage.networks import checkpoint
from tutelage.spec.sections import PLAIN, ExecutionConfig, RecipeConfig
from tutelage.tasks import image_classification
from tutelage.training import execution, loop
from tutelage.training.plan import TrainingPlan


@pytest.fixture(scope="module")
def plan() -> TrainingPlan:
    _, plugin, config = plugins.configure("data", "digits")
    train, validation = (plugin.read(config, 0, split) for split in ("train", "validation"))
    return TrainingPlan(
        task=image_classification.build(image_classification.Config()),
        train=train.head(256), validation=validation.head(64), signature=plain_signature(),
        recipe=RecipeConfig(epochs=2, batch_size=32), seed=0,
    )  # fmt: skip


def build() -> nn.Module:
    torch.manual_seed(0)
    return checkpoint.build(architecture_of({"convnet": {"width": 4}}))


def test_a_short_training_is_run_in_plain_mode_and_only_that_is_timed(plan: TrainingPlan) -> None:
    way, timed = execution.fastest(build, plan)
    assert way == PLAIN
    assert list(timed) == ["plain"] and timed["plain"] > 0


def test_a_training_is_timed_whose_first_examples_have_no_label(plan: TrainingPlan) -> None:
    is_last = torch.arange(len(plan.train)) == len(plan.train) - 1
    labels, field = plan.train.targets["class"].take(slice(None))[0], plan.train.targets["class"]
    train = replace(plan.train, targets={"class": replace(field, values=labels.masked_fill(~is_last, UNKNOWN))})
    assert list(execution.fastest(build, replace(plan, train=train))[1]) == ["plain"]


@pytest.mark.parametrize(("faster", "chosen"), [(0.5, True), (0.95, False), (2.0, False)])
def test_a_mode_is_chosen_if_it_is_faster_by_more_than_the_noise(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch, faster: float, chosen: bool
) -> None:
    def clock(build: Any, plan: Any, way: ExecutionConfig) -> tuple[float, float]:
        return (faster if way.channels_last else 1.0), 0.0

    monkeypatch.setattr(execution, "_seconds", clock)
    long = replace(plan, recipe=RecipeConfig(epochs=100, batch_size=32))
    way, timed = execution.fastest(build, long)
    assert way.channels_last is chosen
    assert timed["channels_last"] == faster * 1e3


def test_the_compilation_time_of_a_mode_counts(plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_seconds", lambda b, x, way: (0.5, 1e6) if way.channels_last else (1.0, 0.0))
    assert execution.fastest(build, replace(plan, recipe=RecipeConfig(epochs=100, batch_size=32)))[0] == PLAIN


@pytest.mark.parametrize("way", [{"channels_last": True}, {"bfloat16": True}])
def test_all_modes_train_the_same_network_up_to_rounding(plan: TrainingPlan, way: dict[str, bool]) -> None:
    losses = [loop.Training(build(), replace(plan, execution=x)).epoch() for x in (PLAIN, ExecutionConfig(**way))]
    tolerance = 2e-2 if "bfloat16" in way else 1e-4
    assert losses[1]["train_loss"] == pytest.approx(losses[0]["train_loss"], rel=tolerance)
