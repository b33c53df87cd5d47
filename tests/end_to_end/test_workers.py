"""Trials with workers of their own: the same students as without, every epoch reported, and no trial waits for another."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage.records.observer import EpochEnded, Event
from tutelage.spec import loading
from tutelage.sweep import pipeline

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]


def test_two_workers_on_two_cpus_give_the_same_students_as_one_process(small_spec: dict[str, Any]) -> None:
    tree = {**small_spec, "search": {"trials": 2, "sampler": "random", "checkpoint_epochs": 1}}
    alone = pipeline.sweep(loading.from_dict({**tree, "name": "alone"})).records()
    told: list[Event] = []
    resources = {"trial": {"workers": 2, "cpus": 1}}
    home = pipeline.sweep(
        loading.from_dict({**tree, "name": "in-workers", "resources": resources}), observers=[told.append]
    )  # fmt: skip
    for one, other in zip(alone, home.records(), strict=True):
        assert other.state == "finished", other.error
        assert other.config == one.config
        assert other.measures["accuracy"] == pytest.approx(one.measures["accuracy"])
        assert other.measures["params"] == one.measures["params"]
        assert [row["train_loss"] for row in other.curve] == pytest.approx([row["train_loss"] for row in one.curve], rel=1e-3)
    epochs = [(event.trial_id, event.row["epoch"]) for event in told if isinstance(event, EpochEnded)]
    assert epochs == [(trial, epoch) for trial in ("t0000", "t0001") for epoch in (1, 2, 3, 4)]
