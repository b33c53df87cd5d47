"""The sandwich rule: the rungs of a ladder share the weights of one network and recover together."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config
from tests.plain import SENTENCES, examples_for
from tests.sparsity.test_ladder import same_networks
from tests.sparsity.test_life import opened, trained
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost
from tutelage.networks.trust import EVERYTHING
from tutelage.networks.weights import load
from tutelage.sparsity import Calibration, channels
from tutelage.sparsity._narrow import divergence
from tutelage.sparsity._tracing import groups
from tutelage.spec import loading
from tutelage.spec.sections import TrialConfig
from tutelage.training import student, student_sizes
from tutelage.training.context import TrainingContext

AMOUNTS = [0.25, 0.5, 0.75, 0.875]
MLP, CONVNET, RESNET = {"mlp": {"hidden": 16, "depth": 2}}, {"convnet": {"width": 8}}, {"resnet": {"width": 8, "blocks": 1}}


def config_of(
    method: Any = "channels", model: Any = MLP, sandwich: bool = True, epochs: int = 6, amounts: Sequence[float] = AMOUNTS
) -> TrialConfig:  # fmt: skip
    config = small_config()
    ladder = {"amounts": [*amounts], "recovery_epochs": 1, "sandwich": sandwich}
    config["sparsity"] = {"amount": amounts[-1], "method": method, "ladder": ladder}
    config["student"] |= {"model": model, "epochs": epochs}
    return TrialConfig.model_validate(config)


def masked(whole: nn.Module, kept: dict[str, list[int]], arguments: tuple[torch.Tensor, ...]) -> nn.Module:
    """Set all channels of the whole network to zero but those kept, in place."""
    for group in groups(whole, arguments):
        (name,) = group.layers & kept.keys()
        group.scale(whole, torch.isin(torch.arange(group.width), torch.tensor(kept[name])).float())
    return whole


@pytest.mark.parametrize(
    "method", ["channels", {"channels": {"allocation": "sensitivity"}}, {"spr": {"allocation": "uniform"}}], ids=str
)
def test_a_rung_is_the_whole_network_without_some_channels_and_the_rungs_are_nested(
    context: TrainingContext, method: Any
) -> None:
    training = trained(context, config_of(method))
    points, kept = training.finish(), training._sparsity.state()["kept"]
    arguments = context.splits["validation"].take(slice(8)).arguments
    assert [(one.rung, one.amount) for one in points] == [(0, 0.0), *enumerate(AMOUNTS, start=1)]
    assert all("sandwich rule" in one.made for one in points[1:])
    for point, own in zip(reversed(points[1:]), reversed(kept), strict=True):  # the strongest masks hold for the gentler ones
        whole = masked(
            load(student.untrained(config_of(method), context, 0), points[0].model.state_dict()).eval(), own, arguments
        )
        torch.testing.assert_close(point.model(*arguments), whole(*arguments), atol=1e-5, rtol=0)
    for gentle, strong in pairwise(kept):
        assert all({*strong[name]} <= {*gentle[name]} for name in gentle)
    pointers = [weight.data_ptr() for point in points for weight in point.model.parameters()]
    assert len({*pointers}) == len(pointers), "in the end each has weights of its own"


@pytest.mark.slow
@pytest.mark.parametrize("model", [MLP, CONVNET, RESNET, {"vit": {"width": 16, "heads": 4}}], ids=str)
@pytest.mark.parametrize("method", ["channels", {"channels": {"round_to": 4}}, {"spr": {"allocation": "uniform"}}], ids=str)
def test_a_rung_has_the_size_that_a_student_of_its_amount_has_and_is_read_back(
    context: TrainingContext, tmp_path: Any, method: Any, model: Any
) -> None:
    config = config_of(method, model, epochs=3, amounts=[0.33, 0.81])
    points = trained(context, config).finish()
    for point in points:
        alone = config.sparsity.model_copy(update={"ladder": None, "amount": point.amount})
        expected = student_sizes.presize(config.model_copy(update={"sparsity": alone}), context).final["params"]
        assert cost.size(point.model)["params"] == expected
        checkpoint.write(tmp_path / str(point.rung), point.model, student.architecture_of(config, context, point))
        inputs = context.splits["validation"].take(slice(8)).arguments
        read = checkpoint.read(tmp_path / str(point.rung), EVERYTHING)[0]
        torch.testing.assert_close(read(*inputs), point.model(*inputs))
    assert student_sizes.presize(config, context).final["params"] == cost.size(points[-1].model)["params"]


def test_a_step_trains_the_whole_network_the_narrowest_and_two_others_by_its_outputs() -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.constant_(whole[0].bias, 2.0)  # so that each unit is above zero for some examples
    inputs = torch.randn(6, 4)
    data = Calibration(arguments=(inputs[:2],), seed=3)
    method = channels.build(channels.Config(), 0.875).sandwich(AMOUNTS, 1)
    assert method.recoveries(9) == (4,) and method.remove(method.start(whole, data), data) is whole
    kept = [own["0"] for own in method.state()["kept"]]
    assert [len(one) for one in kept] == [6, 4, 2, 1]
    order = torch.randperm(3, generator=torch.Generator().manual_seed(3 * 1_000_003 + 1))[:2].tolist()
    whole.train()
    target = whole(inputs)
    penalty = method.penalty(whole)
    assert penalty is not None
    expected = torch.zeros(())
    for own in (kept[3], *(kept[place] for place in order)):
        hidden = functional.relu(inputs @ whole[0].weight[own].T + whole[0].bias[own])
        narrow = hidden @ whole[2].weight[:, own].T + whole[2].bias
        expected = expected + functional.kl_div(
            narrow.log_softmax(1), target.detach().log_softmax(1), reduction="batchmean", log_target=True
        )
    torch.testing.assert_close(penalty, expected)
    (gradient,) = torch.autograd.grad(penalty, whole[2].weight)
    trained_columns = gradient.any(dim=0).nonzero().flatten().tolist()
    assert trained_columns == kept[min(order)], "the weights of the narrower networks are those of the whole one"


def test_steps_that_are_padding_count_for_nothing() -> None:
    arguments = examples_for(SENTENCES, 4)
    mask = arguments[1]
    whole, narrow = torch.randn(4, mask.shape[1], 3), torch.randn(4, mask.shape[1], 3)
    found = divergence([whole], [narrow], arguments)
    torch.testing.assert_close(found, divergence([whole], [narrow.where(mask.unsqueeze(-1), 7.0)], arguments))
    real = functional.kl_div(narrow[mask].log_softmax(-1), whole[mask].log_softmax(-1), reduction="batchmean", log_target=True)
    torch.testing.assert_close(found, real)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["channels", {"spr": {"allocation": "sensitivity"}}], ids=str)
@pytest.mark.parametrize("model", [MLP, CONVNET], ids=str)
def test_a_training_that_is_resumed_after_any_epoch_ends_as_if_it_had_not_stopped(
    context: TrainingContext, method: Any, model: Any
) -> None:
    config, states = config_of(method, model), []
    whole = opened(context, config)
    while not whole.is_done:
        whole.epoch()
        states.append(io.BytesIO())
        torch.save(whole.state(), states[-1])
    points = whole.finish()
    for state in (states[1], states[3]):
        resumed = opened(context, config)
        resumed.restore(torch.load(io.BytesIO(state.getvalue()), weights_only=True), load)
        while not resumed.is_done:
            resumed.epoch()
        found = resumed.finish()
        assert [point.amount for point in found] == [point.amount for point in points]
        same_networks(found, points)


def test_each_rung_has_the_config_of_the_whole_training() -> None:
    config = config_of()
    assert all(student.of_rung(config, rung) == config for rung in range(5))
    assert student.recoveries(config) == (4,) and student.recoveries(config_of(sandwich=False)) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "method",
    [
        "low_rank", "units", "magnitude", {"composed": {"stages": ["channels", "magnitude"]}}, "spr",
        {"channels": {"threshold": 0.5}}, {"channels": {"amounts": {"*": 0.5}}},
        {"spr": {"allocation": "uniform", "heads": 0.5}},
    ],
    ids=str,
)  # fmt: skip
def test_another_method_is_an_error_when_the_spec_is_loaded(method: Any) -> None:
    sparsity = {"amount": 0.75, "method": method, "ladder": {"sandwich": True}}
    with pytest.raises(InputError, match=r"has no ladder: the sandwich rule orders the channels of the whole network once"):
        loading.from_dict({**SMALL_SPEC, "student": {"model": "mlp", "epochs": 20}, "sparsity": sparsity})


@pytest.mark.parametrize("options", [{}, {"allocation": "sensitivity"}], ids=str)
def test_channels_that_cannot_share_weights_are_an_error(options: Any) -> None:
    grouped = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(), nn.Linear(8 * 36, 3))
    data = Calibration(arguments=(torch.randn(2, 1, 8, 8),))
    method = channels.build(channels.Config(**options), 0.5).sandwich([0.5], 1)
    with pytest.raises(InputError, match="cannot share the weights of a whole network"):
        method.remove(method.start(grouped, data), data)
