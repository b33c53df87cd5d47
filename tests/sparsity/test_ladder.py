"""A ladder: one training, several students, each cut from the one before; for every method that removes at one moment."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config
from tests.sparse_models import options, small
from tests.sparsity.test_life import every_option, opened, trained
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost
from tutelage.networks.trust import EVERYTHING
from tutelage.networks.weights import load
from tutelage.records.trial import representative
from tutelage.sparsity import Calibration, Point, channels, spr
from tutelage.sparsity._batch_norm import RECALIBRATION_BATCHES
from tutelage.sparsity._ladder import Ladder
from tutelage.spec import loading
from tutelage.spec.sections import LadderConfig, TrialConfig
from tutelage.training import student, student_sizes
from tutelage.training.context import TrainingContext


def has_ladder(method: str) -> bool:
    """Return whether a method of the package can remove several times in a training."""
    _, plugin, config = plugins.configure("sparsity", {method: options(method)})
    with suppress(InputError):
        return plugin.build(config, 0.5).for_ladder() is not None
    return False


LADDERS = [one for one in every_option() if has_ladder(one[0])]
AMOUNTS = [0.3, 0.5, 0.75]
MLP, CONVNET = {"mlp": {"hidden": 16, "depth": 2}}, {"convnet": {"width": 8}}


def config_of(method: Any = "channels", model: Any = MLP, epochs: int = 5, **student_options: Any) -> TrialConfig:
    config = small_config()
    config["sparsity"] = {"amount": 0.75, "method": method, "ladder": {"amounts": AMOUNTS, "recovery_epochs": 1}}
    name = next(iter(method)) if isinstance(method, dict) else method
    config["student"] |= {"model": small(name, model), "epochs": epochs, "average_decay": 0.9, **student_options}
    return TrialConfig.model_validate(config)


def same_networks(left: Sequence[Point], right: Sequence[Point]) -> None:
    for one, other in zip(left, right, strict=True):
        assert (one.rung, one.amount, one.made, one.surgery) == (other.rung, other.amount, other.made, other.surgery)
        own, its = one.model.state_dict(), other.model.state_dict()
        assert own.keys() == its.keys()
        for key, tensor in own.items():
            assert torch.equal(tensor, its[key]), (one.rung, key)


@pytest.mark.parametrize(
    ("spacing", "amounts"), [("linear", [0.25, 0.5, 0.75]), ("geometric", [1 - 0.25 ** (1 / 3), 1 - 0.25 ** (2 / 3), 0.75])]
)
def test_amounts_grow_to_the_given_one(spacing: Any, amounts: list[float]) -> None:
    ladder = LadderConfig(rungs=3, spacing=spacing)
    assert ladder.amounts_to(0.75) == pytest.approx(amounts) and ladder.amounts_to(0.75)[-1] == 0.75
    assert ladder.amounts_to(0.0) == ()
    assert LadderConfig(amounts=[0.1, 0.9]).amounts_to(0.9) == (0.1, 0.9)


def networks_for(method: str) -> list[Any]:
    """Return the networks with which a method's ladders are tested: two, or the one of its own that it needs."""
    own = small(method, None)
    return [own] if own else [MLP, CONVNET]


CASES = [(method, options, model) for method, options in LADDERS for model in networks_for(method)]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options", "model"), CASES, ids=str)
def test_each_rung_is_read_back_as_it_was_in_the_size_that_was_predicted(
    few: TrainingContext, tmp_path: Path, method: str, options: dict[str, Any], model: Any
) -> None:
    config = config_of({method: options}, model)
    points = trained(few, config).finish()
    assert [(point.rung, point.amount) for point in points] == [(0, 0.0), (1, 0.3), (2, 0.5), (3, 0.75)]
    assert representative(points) is points[3] and points[0].made == "whole"
    inputs = few.splits["validation"].take(slice(8)).inputs["inputs"]
    sizes = []
    for rung, point in enumerate(points):
        own = student.of_rung(config, rung)
        checkpoint.write(tmp_path / str(rung), point.model, student.architecture_of(own, few, point))
        read, _ = checkpoint.read(tmp_path / str(rung), EVERYTHING)
        torch.testing.assert_close(read(inputs), point.model(inputs))
        sizes.append(cost.size(read))
        alone = own.model_copy(update={"sparsity": own.sparsity.model_copy(update={"ladder": None})})
        for predicted in (student_sizes.presize(one, few).final for one in (own, alone)):
            assert predicted.get("params", sizes[-1]["params"]) == sizes[-1]["params"], "as one removal of this amount"
    if "threshold" in options:
        return  # it may leave all channels
    numbers = [one["nonzero_params"] for one in sizes]
    assert numbers == sorted(numbers, reverse=True) and numbers[2] < numbers[0]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), LADDERS, ids=str)
def test_a_ladder_that_is_resumed_after_any_epoch_ends_as_if_it_had_not_stopped(
    few: TrainingContext, method: str, options: dict[str, Any]
) -> None:
    config, states = config_of({method: options}), []
    whole = opened(few, config)
    while not whole.is_done:
        whole.epoch()
        states.append(io.BytesIO())
        torch.save(whole.state(), states[-1])
    points = whole.finish()
    for state in states[:-1]:
        resumed = opened(few, config)
        resumed.restore(torch.load(io.BytesIO(state.getvalue()), weights_only=True), load)
        while not resumed.is_done:
            resumed.epoch()
        again = resumed.finish()
        assert [(one.rung, one.amount) for one in again] == [(one.rung, one.amount) for one in points]
        same_networks(again, points)


@pytest.mark.parametrize(
    "method",
    ["channels", "low_rank", "n_m", "spr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("heads", "units"))],
)
def test_a_training_up_to_a_rung_gives_the_rungs_of_the_whole_ladder(few: TrainingContext, method: str) -> None:
    config = config_of(method)
    points = trained(few, config).finish()
    for rung, epochs in enumerate((2, 3, 4, 5)):
        own = student.of_rung(config, rung)
        assert (own.student.epochs, own.sparsity.amount) == (epochs, [0.0, *AMOUNTS][rung])
        again = TrialConfig.model_validate(own.model_dump(mode="json"))
        same_networks(trained(few, again).finish(), points[: rung + 1])
    assert student.of_rung(config, 3).sparsity.ladder.amounts_to(0.75) == tuple(AMOUNTS)  # type: ignore[union-attr]


def test_optimiser_and_average_are_those_of_the_smaller_network(context: TrainingContext) -> None:
    training, sizes = opened(context, config_of()), []
    while not training.is_done:
        training.epoch()
        held = [parameter for group in training._optimizer.param_groups for parameter in group["params"]]
        assert {id(one) for one in held} == {id(one) for one in training.model.parameters()}
        assert training._average is not None
        for name, parameter in training.model.named_parameters():
            assert training._average.weights[name].shape == parameter.shape
        sizes.append(sum(parameter.numel() for parameter in held))
    assert sizes[0] == sizes[1] > sizes[2] > sizes[3] > sizes[4]


@pytest.mark.parametrize("allocation", ["uniform", "network"])
def test_a_rung_is_cut_from_the_rung_before_and_its_batch_norms_are_measured_again(allocation: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].bias.copy_(torch.arange(16))
    rows = torch.randn(2, 32, 4)
    calibration = Calibration(arguments=(rows[0, :2],), batches=lambda count: [(one,) for one in rows][:count])
    ladder = Ladder(channels.build(channels.Config(allocation=allocation), 0.75), AMOUNTS, 1)
    assert ladder.recoveries(9) == (1, 1, 1)
    marks, widths = [set(range(16))], [24]
    model = ladder.start(model, calibration)
    for amount in AMOUNTS:
        model = ladder.remove(model, calibration)
        marks.append({round(one) for one in model[0].bias.tolist()})
        widths.append(model[0].out_features + model[3].out_features)
        assert len(marks[-1]) == model[0].out_features and marks[-1] <= marks[-2]
        of_each, of_all = int(16 * (1 - amount)) + int(8 * (1 - amount)), 24 - int(24 * amount)
        assert widths[-1] == (of_each if allocation == "uniform" else of_all)
        means = torch.stack([model[0](one).mean(dim=0) for one in rows]).mean(dim=0)
        torch.testing.assert_close(model[1].running_mean, means.detach())
        with torch.no_grad():
            model[3].weight.mul_(2.0)  # a recovery changes the network; what was kept of the rungs before does not change
    points = ladder.finish(model, calibration)
    assert [point.model[0].out_features + point.model[3].out_features for point in points] == widths  # type: ignore[index]


@pytest.mark.parametrize("method", ["spr", "channels", "composed"])
def test_batch_norms_are_measured_once_a_rung(method: str) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    read = list[int]()
    calibration = Calibration(
        arguments=(torch.randn(2, 4),), batches=lambda count: read.append(count) or [(torch.randn(8, 4),)]
    )
    stages = {"stages": ["spr", "magnitude"]} if method == "composed" else {}
    _, plugin, config = plugins.configure("sparsity", {method: stages})
    ladder = Ladder(plugin.build(config, 0.5), [0.25, 0.5], 1)
    model = ladder.remove(ladder.start(model, calibration), calibration)
    ladder.remove(model, calibration)
    assert read == [RECALIBRATION_BATCHES] * 2
    alone = plugin.build(config, 0.5)
    alone.remove(alone.start(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), calibration), calibration)
    assert len(read) == (2 if method == "channels" else 3)


def test_penalties_act_before_the_first_removal_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    calibration = Calibration(arguments=(torch.randn(2, 4),))
    ladder = Ladder(spr.build(spr.Config(l1=1e3, threshold=0.5), 0.5), [0.25, 0.5], 1)
    ladder.after_step(ladder.start(model, calibration), 0.1)
    assert not model[0].weight.any()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    model = ladder.remove(model, calibration)
    ladder.after_step(model, 0.1)
    assert model[0].weight.all()


def loaded(**sections: Any) -> Any:
    return loading.from_dict({**SMALL_SPEC, "student": {"model": "mlp", "epochs": 9}, **sections})


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (
            {"sparsity": {"method": "tests.ladder:LowRank"}},
            "'tests.ladder:LowRank' has no ladder: it does not remove at one moment",
        ),
        (
            {"sparsity": {"method": {"composed": {"stages": ["channels", "movement"]}}}},
            "has no ladder: movement sums over weights whose shapes the next rung changes",
        ),
        ({"student": {"model": "mlp", "epochs": 8}}, "4 rungs of 2 recovery_epochs take 8 epochs, and student.epochs is 8"),
        ({"student": {"model": "mlp", "epochs": 20, "fine_tune_epochs": 2}}, "only the last rung would be fine-tuned"),
        (
            {"sparsity": {"ladder": {"amounts": [0.5, 0.2]}}},
            "0.5, 0.2 must grow from above 0 to sparsity.amount, which is 0.75",
        ),
        (
            {"sparsity": {"ladder": {"amounts": [0.2, 0.5]}}},
            "0.2, 0.5 must grow from above 0 to sparsity.amount, which is 0.75",
        ),
        ({"sparsity": {"ladder": {"rung": 3}}}, "Did you mean"),
    ],
)
def test_a_ladder_that_cannot_be_is_rejected_with_the_reason_before_anything_is_trained(
    sections: dict[str, Any], reason: str
) -> None:
    sparsity = {"amount": 0.75, "ladder": {}, **sections.pop("sparsity", {})}
    with pytest.raises(InputError) as raised:
        loaded(sparsity=sparsity, **sections)
    assert reason in str(raised.value)


def test_the_settings_of_a_ladder_of_any_method_that_has_one_can_be_searched() -> None:
    names = sorted({name for name, _ in LADDERS})
    methods = {"choice": {name: options(name) for name in names}}
    assert {*names} >= {"channels", "spr", "units", "heads", "low_rank", "magnitude", "movement", "n_m", "composed"}
    spec = loaded(sparsity={"amount": "search", "method": methods, "ladder": {"rungs": {"int": [1, 4]}, "spacing": "linear"}})
    config, params = spec.space.resolve(lambda _name, domain: getattr(domain, "high", None) or domain.labels[-1])
    assert params["sparsity.ladder.rungs"] == 4 == len(spec.trial_config(config).sparsity.ladder.amounts_to(0.9))


def test_a_drawn_amount_of_nothing_gives_the_plain_student(context: TrainingContext) -> None:
    config = config_of()
    sparsity = config.sparsity.model_copy(update={"amount": 0.0, "ladder": LadderConfig(recovery_epochs=1)})
    (point,) = trained(context, config.model_copy(update={"sparsity": sparsity})).finish()
    assert point.rung is None
