"""The least drop of a guard is printed before a sweep, a smaller one is an error; the search uses the decision half only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config
from tutelage.data import Examples
from tutelage.errors import InputError
from tutelage.non_inferiority import exact_p_value, least_margin
from tutelage.spec import loading
from tutelage.spec.spec import Spec
from tutelage.storage.local import LocalStorage
from tutelage.sweep import guard_checks, warm_start
from tutelage.training import context as contexts
from tutelage.training.context import TrainingContext, context_of
from tutelage.training.ray_train import Workers
from tutelage.training.student_jobs import StudentTrial


def spec_of(tmp_path: Path, **guard: Any) -> Spec:
    return loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path), "guard": {"max_drop": 0.05, **guard}})


@pytest.mark.slow
def test_the_halves_of_digits_have_their_sizes_and_least_drops(tmp_path: Path, context: TrainingContext) -> None:
    spec = spec_of(tmp_path)
    room = context_of(spec)
    assert len(room.splits["validation"]) + len(room.certification) == len(context.splits["validation"])
    found = guard_checks.document(spec, room)
    assert found is not None and found["certification_examples"] == len(room.certification) == 179
    for share, least in found["least_max_drop"].items():
        half = round(179 * float(share) / 2)
        assert exact_p_value(half, half, 179, least) <= 0.05 < exact_p_value(half, half, 179, least - 2e-4)
    (text,) = guard_checks.lines(spec, room)
    assert text.startswith(
        "guard: the search uses 180 examples of validation; 179 certify the selected student, with 95 % confidence. "
    )
    least = found["least_max_drop"]
    assert least["0.02"] == 0.0234
    assert f"certify: {100 * least['0.01']:.2f} points where two networks differ on 1 % of the examples, 2.34" in text
    assert guard_checks.plan(spec, room) == {"guard": {**found, "text": [text]}}
    guard_checks.check_guard(spec, room)


@pytest.mark.slow
def test_a_drop_that_the_examples_cannot_certify_is_an_error_with_the_least_one(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, max_drop=0.01)
    room = context_of(spec)
    with pytest.raises(
        InputError,
        match=r"guard\.max_drop 0\.01 is too small: 179 examples certify 0\.0234 .* 95 % confidence, .* differ on 2 % ",
    ):
        guard_checks.check_guard(spec, room)
    least = guard_checks._rounded_up(least_margin(179, 0.02))
    guard_checks.check_guard(spec_of(tmp_path, max_drop=least), room)
    with pytest.raises(InputError, match="where two networks differ on 8 % of the examples"):
        guard_checks.check_guard(spec_of(tmp_path, max_drop=least, disagreement=0.08), room)


def test_a_sweep_without_a_guard_halves_nothing(tmp_path: Path, context: TrainingContext) -> None:
    spec = loading.from_dict({**SMALL_SPEC, "storage": str(tmp_path)})
    room = context_of(spec)
    guard_checks.check_guard(spec, room)
    assert guard_checks.lines(spec, room) == [] and guard_checks.plan(spec, room) == {}
    assert room.fingerprint == context.fingerprint != context_of(spec_of(tmp_path)).fingerprint


def test_a_warm_start_from_students_that_used_the_certification_half_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, marks = spec_of(tmp_path), {"fingerprint": "other"}
    room = context_of(spec)
    warm = spec.model_copy(update={"search": spec.search.model_copy(update={"warm_start": ["earlier"]})})
    earlier = type("Home", (), {"facts": staticmethod(lambda: marks)})
    monkeypatch.setattr(warm_start, "find", lambda storage, name: earlier)
    with pytest.raises(InputError, match=r"search\.warm_start: sweep 'earlier' has other examples, or used all of validation"):
        guard_checks.check_guard(warm, room)
    marks["fingerprint"] = room.fingerprint
    guard_checks.check_guard(warm, room)


@pytest.fixture
def fixed_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves that do not depend on the labels, which stratified ones do."""
    monkeypatch.setattr(contexts, "halves", lambda examples, seed: (torch.arange(0, 359, 2), torch.arange(1, 359, 2)))


def with_garbage(room: TrainingContext, monkeypatch: pytest.MonkeyPatch) -> TrainingContext:
    """Return the context of the same data but for the labels of the certification half, which are all wrong."""
    read = TrainingContext._read_whole

    def garbled(self: TrainingContext, split: Any) -> Examples:
        examples = read(self, split)
        if split != "validation":
            return examples
        target = examples.targets["class"]
        assert isinstance(target.values, torch.Tensor)
        labels = target.values.clone()
        labels[1::2] = (labels[1::2] + 1) % 10
        return replace(examples, targets={"class": replace(target, values=labels)})

    monkeypatch.setattr(TrainingContext, "_read_whole", garbled)
    return replace(room)


def trained(room: TrainingContext, directory: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    trial = StudentTrial(small_config(), room, 0, LocalStorage(directory), "t0000", Workers(workers=0, cpus=1.0, gpus=0.0))
    rows = [trial.step() for _ in range(trial.training.plan.recipe.epochs)]
    timeless = [{name: value for name, value in row.items() if not name.endswith("_s") and name != "curve"} for row in rows]
    return timeless, dict(trial.training.model.state_dict())


@pytest.mark.slow
@pytest.mark.usefixtures("fixed_halves")
def test_garbage_in_the_certification_half_changes_no_training_and_no_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = context_of(spec_of(tmp_path))
    rows, weights = trained(room, tmp_path / "a")
    mark, labels = room.fingerprint, room.certification.targets["class"].values
    other = with_garbage(room, monkeypatch)
    assert not torch.as_tensor(labels).eq(torch.as_tensor(other.certification.targets["class"].values)).any()
    again, other_weights = trained(other, tmp_path / "b")
    assert again == rows
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert np.isfinite(rows[-1]["measures"]["accuracy"]) and other.fingerprint != mark
