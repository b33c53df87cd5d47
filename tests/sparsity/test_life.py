"""A sparsity method's life in a training, held by one that is not ours: low rank, two candidates, a penalty and a mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import sparse_models
from tests.contexts import small_config
from tests.sparse_models import small
from tutelage import plugins
from tutelage.networks import checkpoint, cost
from tutelage.networks.trust import EVERYTHING
from tutelage.networks.weights import load
from tutelage.spec.sections import TrialConfig
from tutelage.training import loop, student, student_sizes
from tutelage.training.context import TrainingContext


def config_of(decay: float = 0.0, **student_options: Any) -> TrialConfig:
    config = small_config()
    config["sparsity"] = {"amount": 0.5, "method": {"tests.ladder:LowRank": {"decay": decay}}}
    config["student"] |= {"model": {"mlp": {"hidden": 16}}, "epochs": 2, **student_options}
    return TrialConfig.model_validate(config)


def opened(context: TrainingContext, config: TrialConfig) -> loop.Training:
    return loop.Training(student.build(config, context, 0), student.plan(config, context, 0))


def trained(context: TrainingContext, config: TrialConfig) -> loop.Training:
    training = opened(context, config)
    while not training.is_done:
        training.epoch()
    return training


def test_one_training_gives_two_candidates_that_are_read_back_as_they_were(context: TrainingContext, tmp_path: Path) -> None:
    config = config_of()
    points = trained(context, config).finish()
    assert [(point.amount, point.made) for point in points] == [(0.5, "rank 2"), (0.0, "whole")]
    inputs = context.splits["validation"].take(slice(8)).inputs["inputs"]
    for number, point in enumerate(points):
        checkpoint.write(tmp_path / str(number), point.model, student.architecture_of(config, context, point))
        read, architecture = checkpoint.read(tmp_path / str(number), EVERYTHING)
        assert ("surgeries" in architecture) is (number == 0)
        torch.testing.assert_close(read(inputs), point.model(inputs))


def test_a_penalty_and_what_follows_a_step_take_hold(context: TrainingContext) -> None:
    plain, shrunk = (trained(context, config_of(decay)) for decay in (0.0, 1e-2))
    norms = [sum(float(weight.detach().abs().sum()) for weight in one.model.parameters()) for one in (plain, shrunk)]
    assert norms[1] < 0.8 * norms[0]
    last = [module for module in plain.model.modules() if isinstance(module, torch.nn.Linear)][-1]
    assert not last.weight[:, 0].any() and last.weight[:, 1].any()


def test_a_method_is_restored_with_its_training(context: TrainingContext, tmp_path: Path) -> None:
    first, second = (opened(context, config_of()) for _ in range(2))
    first.epoch()
    torch.save(first.state(), tmp_path / "state.pt")
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True), load)
    second.epoch()
    whole = trained(context, config_of())
    assert second._sparsity.state() == whole._sparsity.state() != {"steps": 0}
    for left, right in zip(second.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_the_first_candidate_is_sized_before_training(context: TrainingContext) -> None:
    sizes = student_sizes.presize(config_of(), context)
    first = cost.size(trained(context, config_of()).finish()[0].model)
    assert sizes.final["params"] == first["params"] != sizes.initial["params"]


def test_a_student_of_one_epoch_loses_its_channels_in_the_end(context: TrainingContext) -> None:
    config = TrialConfig.model_validate(small_config())
    one = config.model_copy(update={"student": config.student.model_copy(update={"epochs": 1})})
    (point,) = trained(context, one).finish()
    assert cost.size(point.model)["params"] == student_sizes.presize(one, context).final["params"]
    assert replace(point, model=None) == replace(point, model=None, amount=0.5)  # type: ignore[arg-type]


def every_option() -> list[tuple[str, dict[str, Any]]]:
    """Return each method with its defaults, and with each value or end of a range that its search space offers."""
    return [
        (name, options)
        for name in plugins.names("sparsity")
        for options in (
            sparse_models.options(name),
            *({key: value} for key, domain in plugins.load("sparsity", name).SPACE.items() for value in ends(domain)),
        )
    ]


def ends(domain: dict[str, Any]) -> list[Any]:
    return list(domain.get("choice") or domain.get("float") or domain["int"])


def config_for(name: str, options: dict[str, Any], epochs: int = 3) -> TrialConfig:
    config = small_config()
    config["sparsity"] = {"amount": 0.5, "method": {name: options}}
    model = small(name, {"mlp": {"hidden": 16, "depth": 2}})
    config["student"] |= {"model": model, "epochs": epochs, "average_decay": 0.9}
    return TrialConfig.model_validate(config)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), every_option(), ids=str)
def test_a_training_that_is_resumed_after_any_epoch_ends_as_if_it_had_not_stopped(
    few: TrainingContext, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    config = config_for(name, options)
    whole = opened(few, config)
    while not whole.is_done:
        whole.epoch()
        torch.save(whole.state(), tmp_path / f"{whole.epochs_done}.pt")
    points = whole.finish()
    for epoch in (1, 2):
        resumed = opened(few, config)
        resumed.restore(torch.load(tmp_path / f"{epoch}.pt", weights_only=True), load)
        while not resumed.is_done:
            resumed.epoch()
        for other, point in zip(resumed.finish(), points, strict=True):
            assert (other.surgery, other.made, other.amount) == (point.surgery, point.made, point.amount)
            for key, tensor in point.model.state_dict().items():
                assert torch.equal(tensor, other.model.state_dict()[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize(("name", "options"), every_option(), ids=str)
def test_a_candidate_is_read_back_as_it_was_in_the_size_that_was_predicted(
    few: TrainingContext, tmp_path: Path, name: str, options: dict[str, Any], epochs: int
) -> None:
    config = config_for(name, options, epochs)
    inputs, networks = few.splits["validation"].take(slice(8)).inputs["inputs"], []
    for number, point in enumerate(trained(few, config).finish()):
        checkpoint.write(tmp_path / str(number), point.model, student.architecture_of(config, few, point))
        networks.append(checkpoint.read(tmp_path / str(number), EVERYTHING)[0])
        torch.testing.assert_close(networks[-1](inputs), point.model(inputs))
    read = networks[0]
    predicted = student_sizes.presize(config, few).final
    assert predicted.get("params", cost.size(read)["params"]) == cost.size(read)["params"]
    if "threshold" in options:
        return  # it may leave all channels
    assert cost.size(read)["nonzero_params"] < 0.8 * cost.size(student.untrained(config, few, 0))["params"]
