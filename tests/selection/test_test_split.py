"""The scores on the test split, computed again from what is on disk, and the record of their evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.stored_sweep import write_sweep
from tutelage import plugins
from tutelage.data import SplitName
from tutelage.intervals import paired_difference, wilson_interval
from tutelage.networks import checkpoint
from tutelage.records.sweep_dir import SweepDir
from tutelage.selection import test_split
from tutelage.training.context import TrainingContext

Right = np.ndarray[Any, np.dtype[np.bool_]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, context: TrainingContext) -> SweepDir:
    return write_sweep(tmp_path_factory.mktemp("storage"), context, [{"mlp": {"hidden": 3}}, {"mlp": {"hidden": 24}}])


def right_on(split: SplitName, home: SweepDir, trial: str) -> Right:
    """Return for each example of the digits whether the student on disk is right."""
    _, plugin, config = plugins.configure("data", "digits")
    model, _ = checkpoint.read(home.student_path(trial))
    batch = plugin.read(config, 0, split).take(slice(None))
    found: Right = (model(*batch.arguments).argmax(dim=1) == batch.targets["class"]).numpy()
    return found


def subject(home: SweepDir, trial: str) -> test_split.Subject:
    return test_split.Subject(name=trial, model=checkpoint.read(home.student_path(trial))[0])


def test_scores_are_those_of_the_test_split(home: SweepDir, context: TrainingContext) -> None:
    own, other = (right_on("test", home, trial) for trial in ("t0000", "t0001"))
    assert own.mean() != right_on("validation", home, "t0000").mean()
    found = test_split.test(home, context, {"student": subject(home, "t0000"), "teacher": subject(home, "t0001")})
    assert (found["value"], found["n"]) == (pytest.approx(own.mean()), len(own))
    assert found["interval"] == pytest.approx(wilson_interval(int(own.sum()), len(own)))
    assert found["teacher"]["value"] == pytest.approx(other.mean())
    assert found["measures"]["accuracy"]["value"] == found["value"]
    gain = found["gain_over_teacher"]
    assert (gain["difference"], gain["low"], gain["high"]) == pytest.approx(paired_difference(own, other))
    assert gain["difference"] < 0, "the student is the worse of the two"
    assert found["label_only"] is None and found["gain_over_label_only"] is None


def test_an_evaluation_is_recorded_once_for_the_same_networks(home: SweepDir, context: TrainingContext) -> None:
    before = home.facts().get("test_evaluations", [])
    pair = {"student": subject(home, "t0001"), "teacher": subject(home, "t0000")}
    first = test_split.test(home, context, pair)
    recorded = home.facts()["test_evaluations"]
    assert [one["subjects"] for one in recorded[len(before) :]] == [{"student": "t0001", "teacher": "t0000"}]
    assert test_split.test(home, context, pair) == first, "the recorded scores"
    assert home.facts()["test_evaluations"] == recorded
    alone = test_split.test(home, context, {"student": subject(home, "t0001")})
    assert alone["evaluations"] == len(recorded) + 1 and "teacher" not in alone
