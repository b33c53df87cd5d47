"""Each layer's own share: the order of removal by sensitivity, shares given by name, and both in a training."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contexts import small_config
from tests.odd_networks import Recurrent
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost
from tutelage.networks.weights import load
from tutelage.sparsity import Calibration, channels, heads, units
from tutelage.sparsity._ladder import Ladder
from tutelage.sparsity._sensitivity import Level, Order, _finite, allowed_widths, lower_hull, measured_widths, ordered
from tutelage.spec.sections import TrialConfig
from tutelage.training import loop, sensitivity, student
from tutelage.training.context import TrainingContext

pytestmark = pytest.mark.slow

INPUTS = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


class OneLayerMatters(nn.Module):
    """Two layers of 8 units read the inputs: the sum reads `needed` by 1 and `idle` not at all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.needed, self.idle, self.output = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.unread = nn.Linear(8, 1)
        with torch.no_grad():
            self.output.weight.fill_(1.0)
            self.unread.weight.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.output(self.needed(inputs)) + self.unread(self.idle(inputs))
        return found


def squared(model: nn.Module) -> Calibration:
    """Return data on which the loss of a network is its squared distance from `model` as it now is."""
    expected = model(INPUTS).detach()
    return Calibration(arguments=(INPUTS[:2],), loss_of=lambda one: float((one(INPUTS) - expected).detach().square().mean()))


def widths_of(model: nn.Module) -> dict[str, int]:
    return {name: one.out_features for name, one in model.named_modules() if isinstance(one, nn.Linear)}


def test_the_layer_that_does_not_matter_goes_first_and_the_other_only_for_what_it_cannot_save() -> None:
    """Every unit of either layer has 8 + 1 weights, so a unit less saves 9 of the 144 multiply–accumulates."""
    model = OneLayerMatters()
    data = squared(model)
    for amount, needed, idle in [(0.25, 8, 4), (0.4, 8, 1), (0.5, 7, 1)]:
        method = channels.build(channels.Config(allocation="sensitivity"), amount)
        smaller = method.remove(copy.deepcopy(model), data)
        assert (widths_of(smaller)["needed"], widths_of(smaller)["idle"]) == (needed, idle)
        assert method.made == f"channels by l2, shares by sensitivity: idle {idle} of 8, needed {needed} of 8"  # type: ignore[attr-defined]
        assert cost.macs_for(smaller, (INPUTS[:1],)) == 9 * (needed + idle) <= (1 - amount) * 144


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_level_whose_loss_is_not_finite_is_the_worst(loss: float) -> None:
    levels = [
        Level(kept=9 - saved, saved=saved, loss=_finite(one)) for saved, one in ((0, 0.0), (1, loss), (2, 1.0), (3, loss))
    ]
    assert [one.saved for one in lower_hull(levels)] == [0, 2, 3]
    assert ordered({"a": levels, "b": [levels[0], Level(kept=8, saved=1, loss=2.0)]}) == [
        ("a", 8),
        ("a", 7),
        ("b", 8),
        ("a", 6),
    ]


def test_a_layer_keeps_a_tenth_of_its_units_however_much_is_to_go() -> None:
    smaller = channels.build(channels.Config(allocation="sensitivity"), 0.95).remove(
        OneLayerMatters(), squared(OneLayerMatters())
    )
    assert widths_of(smaller)["needed"] == widths_of(smaller)["idle"] == 1
    assert allowed_widths(40, 1)[-1] == 4 and allowed_widths(20, 8) == [20, 16, 8] and allowed_widths(1, 1) == [1]
    assert measured_widths(20, 8) == [16, 8] and measured_widths(8, 1) == [6, 4, 2, 1] and measured_widths(4, 8) == []


def test_steps_are_by_the_growth_of_the_loss_for_what_is_saved() -> None:
    levels = {
        "a": [Level(kept=4, saved=0, loss=0.0), Level(kept=3, saved=10, loss=1.0), Level(kept=2, saved=20, loss=4.0)],
        "b": [Level(kept=4, saved=0, loss=0.0), Level(kept=2, saved=40, loss=8.0)],
    }
    assert ordered(levels) == [("a", 3), ("b", 3), ("b", 2), ("a", 2)], "ratios of 0.1, 0.2 and 0.3"


def test_levels_above_the_hull_are_skipped_so_that_a_layer_keeps_its_order() -> None:
    bump = [Level(kept=9 - saved, saved=saved, loss=loss) for saved, loss in ((0, 0.0), (1, 5.0), (2, 1.0), (3, 9.0))]
    assert [one.saved for one in lower_hull(bump)] == [0, 2, 3]
    slower = Level(kept=1, saved=-1, loss=0.0)  # milliseconds may grow with fewer units
    assert lower_hull([bump[0], slower]) == [bump[0]]


def test_the_cost_may_be_bytes_or_milliseconds() -> None:
    model = OneLayerMatters()
    by_bytes = channels.build(channels.Config(allocation="sensitivity", cost="size_bytes"), 0.25).remove(
        copy.deepcopy(model), squared(model)
    )
    assert widths_of(by_bytes)["needed"] == 8 and cost.size(by_bytes)["size_bytes"] <= 0.75 * cost.size(model)["size_bytes"]
    slow = replace(squared(model), latency_ms=lambda one: 1.0 + widths_of(one)["idle"] + 0.0 * widths_of(one)["needed"])
    by_ms = channels.build(channels.Config(allocation="sensitivity", cost="latency_ms"), 0.5).remove(copy.deepcopy(model), slow)
    assert widths_of(by_ms) == {"needed": 8, "idle": 3, "output": 1, "unread": 1}, "9 ms become 4, the first of at most 4.5"


def test_the_loss_is_measured_after_the_removal_and_with_batch_norms_measured_again() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    seen: list[tuple[int, Tensor]] = []

    def loss_of(one: nn.Module) -> float:
        norm = one[1]  # type: ignore[index]
        seen.append((norm.num_features, norm.running_mean.clone()))
        return 0.0

    data = Calibration(arguments=(INPUTS[:2],), batches=lambda count: [(INPUTS,)], loss_of=loss_of)
    channels.build(channels.Config(allocation="sensitivity"), 0.5).remove(model, data)
    assert [width for width, _ in seen] == [4, 3, 2, 1] and not seen[0][1].any()
    assert all(mean.any() for _, mean in seen[1:])


@pytest.mark.parametrize("score", ["l2", "taylor", "random"])
def test_rungs_follow_one_order_that_is_measured_once_and_outlives_a_resume(score: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    data, measured = squared(model), list[nn.Module]()

    def loss_of(one: nn.Module) -> float:
        measured.append(one)
        return data.loss_of(one)

    def of(network: nn.Module) -> Calibration:
        return replace(data, loss_of=loss_of, losses=lambda count: (network(INPUTS).square().mean() for _ in range(1)))

    watched = of(model)
    config = channels.Config(allocation="sensitivity", score=score)
    ladder = Ladder(channels.build(config, 0.75), (0.25, 0.5, 0.75), 1)
    first = ladder.remove(ladder.start(model, watched), watched)
    num_measured, again = len(measured), Ladder(channels.build(config, 0.75), (0.25, 0.5, 0.75), 1)
    made: list[list[str]] = []
    second = again.restore(copy.deepcopy(first), copy.deepcopy(ladder.state()))
    for one, network in ((ladder, first), (again, second)):
        for _ in range(2):
            network = one.remove(network, of(network))
        points = one.finish(network, watched)
        macs = [cost.macs_for(point.model, (INPUTS[:1],)) for point in points]
        for now, amount in zip(macs[1:], (0.25, 0.5, 0.75), strict=True):
            assert (1 - amount) * macs[0] - 24 < now <= (1 - amount) * macs[0], (
                "a unit has at most 24, and the last one is needed"
            )
        made.append([point.made for point in points])
        for before, after in pairwise(points):
            assert all(widths_of(after.model)[name] <= width for name, width in widths_of(before.model).items())
    assert len(measured) == num_measured
    assert made[0] == made[1] and "16" in made[0][-1]


def test_units_and_heads_get_their_own_shares(context: TrainingContext) -> None:
    torch.manual_seed(0)
    recurrent = Recurrent()
    tokens = next(iter(context.splits["train"].take(slice(2)).inputs.values()))
    for plugin, model, arguments in (
        (units, recurrent, (tokens,)),
        (heads, checkpoint.seeded(context.architecture({"vit": {"width": 16, "depth": 2, "heads": 4}}), 0), (tokens,)),
    ):
        data = Calibration(arguments=arguments, loss_of=lambda one: cost.size(one)["params"])  # type: ignore[misc]
        method = plugin.build(plugin.Config(allocation="sensitivity"), 0.2)
        whole = cost.macs_for(model, arguments)
        smaller = method.remove(model, data)
        assert cost.macs_for(smaller, arguments) <= 0.8 * whole, method.made
        assert method.presized(smaller, arguments) is None and "shares by sensitivity" in method.made


def test_amounts_give_single_layers_their_own_shares_which_are_sized_before_training() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)
    )
    data = Calibration(arguments=(INPUTS[:2],))
    config = channels.Config(amounts={"2": 0.25, "[24]": 0.75, "9*": 0.5} | {"4": 0.5})
    with pytest.raises(InputError, match=r"amounts: '9\*' is not a layer that can become smaller, and matches none.* 0, 2, 4"):
        channels.build(config, 0.125).start(copy.deepcopy(model), data)
    method = channels.build(channels.Config(amounts={"?": 0.5, "2": 0.25}), 0.125)
    sized = method.presized(copy.deepcopy(model), (INPUTS[:2],))
    smaller = method.remove(method.start(copy.deepcopy(model), data), data)
    for one in (sized, smaller):
        assert one is not None and list(widths_of(one).values()) == [8, 12, 8, 1], "the layer's own name comes before a pattern"
    with pytest.raises(InputError, match="fixed shares of layers, which do not grow"):
        method.for_ladder()
    assert list(widths_of(channels.build(channels.Config(amounts={"2": 0.0}), 0.5).remove(model, data)).values()) == [
        8,
        16,
        8,
        1,
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"allocation": "sensitivity", "threshold": 0.3}, "and so does allocation: sensitivity"),
        ({"amounts": {"0": 0.5}, "thresholds": {"0": 0.3}}, "and so does amounts"),
        ({"amounts": {"0": 0.5}, "allocation": "network"}, "and so does allocation: network"),
    ],
)
def test_two_rules_for_one_share_are_rejected(options: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        plugins.configure("sparsity", {"channels": options})


@pytest.mark.slow
def test_the_loss_that_decides_is_the_mean_label_loss_of_the_guards_decision_half_or_of_training_examples(
    context: TrainingContext,
) -> None:
    config = TrialConfig.model_validate(small_config())
    guarded = replace(context, has_guard=True)
    model = student.build(config, context, 0).eval()
    for one, split in ((context, "train"), (guarded, "validation")):
        plan = student.plan(config, one, 0)
        examples = one.splits[split]  # type: ignore[index]
        logits = model(*examples.take(slice(None)).arguments)
        expected = nn.functional.cross_entropy(logits, examples.targets["class"].values.long().flatten())
        if len(examples) <= sensitivity.EXAMPLES:
            assert sensitivity.label_loss(model, plan) == pytest.approx(float(expected.detach()), rel=1e-4)
        else:
            assert sensitivity.label_loss(model, plan) == pytest.approx(float(expected.detach()), rel=0.2)
    assert sensitivity.latency_ms(model, plan) > 0


def test_a_training_by_sensitivity_resumes_after_any_epoch(context: TrainingContext) -> None:
    config = small_config()
    config["sparsity"] = {"amount": 0.5, "method": {"channels": {"allocation": "sensitivity"}}}
    config["student"] |= {"epochs": 3}
    checked = TrialConfig.model_validate(config)

    def opened() -> loop.Training:
        return loop.Training(student.build(checked, context, 0), student.plan(checked, context, 0))

    whole, first, second = opened(), opened(), opened()
    while not whole.is_done:
        whole.epoch()
    first.epoch()
    first.epoch()
    second.restore(copy.deepcopy(first.state()), load)
    second.epoch()
    assert whole._sparsity.state()["order"] == second._sparsity.state()["order"]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    )
    assert Order("macs").description == ""
