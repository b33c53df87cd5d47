"""Several methods on one student: their order, amounts that are searched, the life of each, and what is read back."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import SMALL_SPEC
from tests.contexts import small_config
from tutelage import plugins
from tutelage.errors import InputError, SpecError
from tutelage.networks import checkpoint, cost
from tutelage.networks.weights import load
from tutelage.sparsity import Calibration, Method, Point, composed
from tutelage.sparsity._ladder import Ladder
from tutelage.sparsity._masks import matrices
from tutelage.sparsity.low_rank import product
from tutelage.spec import loading, space
from tutelage.spec.sections import TrialConfig
from tutelage.training import loop, student, student_sizes
from tutelage.training.context import TrainingContext

OPTIONS = {"stages": [{"channels": {"amount": 0.25}}, {"low_rank": {"amount": 0.25}}, "magnitude"]}

INPUTS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def method(*stages: Any, amount: float = 0.5) -> Method:
    return composed.build(composed.Config(stages=list(stages)), amount)


def data(steps: int = 40) -> Calibration:
    return Calibration(arguments=(INPUTS[:2],), steps=steps, batches=lambda count: [(INPUTS,)][:count])


def configured(method: Any, epochs: int = 4) -> TrialConfig:
    config = small_config()
    config["sparsity"] = {"amount": 0.5, "method": method}
    config["student"] |= {"model": {"mlp": {"hidden": 16, "depth": 2}}, "epochs": epochs}
    return TrialConfig.model_validate(config)


@pytest.mark.parametrize(
    ("stages", "why"),
    [
        (["magnitude", "channels"], "channels cannot come after magnitude: it would remove channels of factors, or weights"),
        (["low_rank", "channels"], "channels cannot come after low_rank: .*The order is structure, low_rank, unstructured"),
        (["channels", "n_m", "low_rank"], "low_rank cannot come after n_m: a product of two layers has no zeros"),
        (
            ["magnitude", "movement"],
            "movement cannot come after magnitude: the second one would count what the first one removed",
        ),
        (["channels", "heads", "channels"], "channels cannot come after channels: the second one"),
        ([{"composed": {"stages": ["channels"]}}], "composed cannot be composed: it has no KIND"),
        ([{"channels": {"amount": 1.5}}], "channels: amount 1.5 is not a number from 0 to 0.95"),
        ([{"channels": {"amount": 0.96}}], "channels: amount 0.96 is not a number from 0 to 0.95"),
        ([{"channels": {"amount": True}}], "channels: amount True is not a number"),
        ([{"channels": {"score": "largest"}}], "sparsity plugin 'channels': score"),
        (["chanels"], "no sparsity plugin 'chanels'"),
    ],
)
def test_a_wrong_order_or_stage_is_an_error_with_the_reason(stages: list[Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        plugins.configure("sparsity", {"composed": {"stages": stages}})
    with pytest.raises(SpecError, match=why):
        loading.from_dict({**SMALL_SPEC, "sparsity": {"amount": 0.5, "method": {"composed": {"stages": stages}}}})


def test_methods_and_amounts_of_the_stages_are_searched() -> None:
    stages = [
        {"channels": {"amount": {"float": [0.0, 0.75], "step": 0.25}}},
        {"choice": {"magnitude": {"amount": {"float": [0.0, 0.9]}}, "n_m": {"m": 8}}},
    ]
    spec = loading.from_dict({**SMALL_SPEC, "sparsity": {"amount": 0.5, "method": {"composed": {"stages": stages}}}})
    names = {name for name in spec.space.names() if name.startswith("sparsity")}
    at = "sparsity.method.composed.stages"
    assert names == {f"{at}.0.channels.amount", f"{at}.1", f"{at}.1.magnitude.amount"}
    chosen = {f"{at}.0.channels.amount": 0.25, f"{at}.1": "magnitude", f"{at}.1.magnitude.amount": 0.4}
    config, params = spec.space.resolve(lambda name, domain: chosen.get(name, space._lowest(name, domain)))
    found = config["sparsity"]["method"]["composed"]["stages"]
    assert found == [{"channels": {"amount": 0.25}}, {"magnitude": {"amount": 0.4}}]
    assert chosen.items() <= params.items()


def test_an_amount_out_of_its_range_is_an_error_at_the_corner_of_the_space() -> None:
    stages = [{"channels": {"amount": {"float": [0.0, 1.5]}}}]
    with pytest.raises(SpecError, match=r"amount 1.5 is not a number from 0 to 0.95"):
        loading.from_dict({**SMALL_SPEC, "sparsity": {"amount": 0.5, "method": {"composed": {"stages": stages}}}})


def test_each_stage_removes_its_own_share_of_what_the_one_before_left() -> None:
    one = method({"channels": {"amount": 0.25}}, {"low_rank": {"amount": 0.4}}, {"magnitude": {"amount": 0.5}})
    model = one.start(network(), data())
    for _ in range(20):
        one.after_step(model, 0.1)
    assert all((weight != 0).all() for weight in matrices(model).values()), "single weights go after the removal of structures"
    model = one.remove(model, data())
    assert isinstance(model[0], nn.Sequential) and model[0][1].out_features == 12  # 16 less a quarter
    for _ in range(20):
        one.after_step(model, 0.1)
    (point,) = one.finish(model, data())
    weights = matrices(point.model)
    numbers = sum(weight.numel() for weight in weights.values())
    assert sum(int((weight == 0).sum()) for weight in weights.values()) == int(0.5 * numbers)
    assert point.made == "channels by l2, then layers of low rank, then smallest weights set to zero"


class Counted(Method):
    """A stage that counts its steps and penalties."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.num_steps = self.num_penalties = 0

    def after_step(self, model: nn.Module, rate: float) -> None:
        self.num_steps += 1

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        self.num_penalties += 1
        return None


def test_a_stage_of_single_weights_takes_no_part_in_the_steps_before_it_starts() -> None:
    first, later = Counted(), Counted()
    one = composed.Composed([("structure", first), ("unstructured", later)], 0.5)
    model = one.start(network(), data())
    for is_removed in (False, True):
        model = one.remove(model, data()) if is_removed else model
        one.after_step(model, 0.1)
        one.penalty(model)
    assert (first.num_steps, first.num_penalties) == (2, 2)
    assert (later.num_steps, later.num_penalties) == (1, 1)


def test_a_stage_with_an_amount_of_zero_is_left_out_and_one_without_takes_that_of_the_spec() -> None:
    one = method({"channels": {"amount": 0.0}}, "magnitude", amount=0.3)
    assert isinstance(one, composed.Composed) and [stage.amount for stage in one._stages] == [0.3]
    (point,) = one.finish(one.start(network(), data()), data())
    assert point.amount == 0.3 and point.model[0].out_features == 16
    (whole,) = method({"channels": {"amount": 0.0}}).finish(network(), data())
    assert whole.model[0].out_features == 16


def test_a_schedule_of_single_weights_spans_the_steps_after_the_removal() -> None:
    one = method("channels", {"magnitude": {"amount": 0.5, "first": 0.0, "last": 1.0, "times": 4}})
    model, seen = one.start(network(), data(40)), list[int]()
    for step in range(40):
        if step == 24:
            model = one.remove(model, data(40))
        one.after_step(model, 0.1)
        seen.append(sum(int((weight == 0).sum()) for weight in matrices(model).values()))
    rises = [step + 1 for step in range(1, 40) if seen[step] > seen[step - 1]]
    assert rises == [28, 32, 36, 40]


def test_the_removal_comes_before_the_longest_recovery() -> None:
    stages = ({"channels": {"fine_tune_share": 0.2}}, {"low_rank": {"fine_tune_share": 0.5}}, "magnitude")
    assert method(*stages).recoveries(10) == (5,)
    assert method("magnitude").recoveries(10) == () and method("magnitude", amount=0.0).recoveries(10) == ()


class Twice(Method):
    def recoveries(self, epochs: int) -> tuple[int, ...]:
        return (1, 1)

    def finish(self, model: nn.Module, calibration: Calibration) -> Any:
        return [Point(model=model), Point(model=model)]


Two = SimpleNamespace(
    __doc__="Removes twice.",
    KIND="structure",
    SPACE={},
    Config=plugins.PluginConfig,
    build=lambda config, amount: Twice(amount),
)


def test_a_stage_that_removes_several_times_or_gives_several_candidates_is_an_error() -> None:
    one = method("tests.sparsity.test_composed:Two")
    with pytest.raises(InputError, match="removes something several times in a training"):
        one.recoveries(10)
    with pytest.raises(InputError, match="gives several candidates"):
        one.finish(network(), data())


STAGES: list[list[Any]] = [
    [{"channels": {"amount": 0.25}}, {"low_rank": {"amount": 0.25}}, {"magnitude": {"amount": 0.5}}],
    [{"spr": {"threshold": 0.9}}, "movement"],
    ["channels", {"n_m": {"m": 2}}],
    ["low_rank"],
    ["movement"],
]


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.parametrize("stages", STAGES, ids=str)
def test_a_training_is_resumed_and_its_candidate_read_back_bit_for_bit(
    context: TrainingContext, tmp_path: Path, stages: list[Any], epochs: int
) -> None:
    config = configured({"composed": {"stages": stages}}, epochs)

    def opened() -> loop.Training:
        return loop.Training(student.build(config, context, 0), student.plan(config, context, 0))

    whole = opened()
    while not whole.is_done:
        whole.epoch()
        torch.save(whole.state(), tmp_path / f"{whole.epochs_done}.pt")
    (point,) = whole.finish()
    for epoch in range(1, epochs + 1):
        resumed = opened()
        resumed.restore(torch.load(tmp_path / f"{epoch}.pt", weights_only=True), load)
        while not resumed.is_done:
            resumed.epoch()
        (other,) = resumed.finish()
        assert other.surgery == point.surgery
        assert all(torch.equal(tensor, other.model.state_dict()[key]) for key, tensor in point.model.state_dict().items())
    checkpoint.write(tmp_path / "network", point.model, student.architecture_of(config, context, point))
    read, _ = checkpoint.read(tmp_path / "network")
    inputs = context.splits["validation"].take(slice(8)).inputs["inputs"]
    torch.testing.assert_close(read(inputs), point.model(inputs))
    predicted = student_sizes.presize(config, context).final
    assert predicted.get("params", cost.size(read)["params"]) == cost.size(read)["params"]


def test_a_stage_of_single_weights_that_started_takes_part_in_the_steps_after_a_resume() -> None:
    """The checkpoint is of a step in the middle of the schedule, which then continues from there."""
    stages = [{"channels": {"amount": 0.25}}, {"magnitude": {"amount": 0.5}}]
    first, again = method(*stages), method(*stages)
    model = first.remove(first.start(network(), data()), data())
    for _ in range(20):
        first.after_step(model, 0.1)
    other = again.restore(again.start(network(), data()), copy.deepcopy(first.state()))
    other = load(other, model.state_dict())
    for one, trained in ((first, model), (again, other)):
        with torch.no_grad():
            for weight in trained.parameters():
                weight.add_(0.01)
        one.after_step(trained, 0.1)
    zeros = [sum(int((weight == 0).sum()) for weight in matrices(one).values()) for one in (model, other)]
    assert zeros[0] == zeros[1] > 0


def test_a_rung_removes_structures_then_ranks_then_weights_of_the_rung_before_each_at_most_its_own_amount() -> None:
    stages = [{"channels": {"amount": 0.5}}, {"low_rank": {"amount": 0.25}}, "magnitude"]
    ladder = Ladder(method(*stages, amount=0.75), (0.25, 0.75), 1)
    model = ladder.start(network(), data())
    for channels_left, removed, zeros in ((12, 0.25, 0.25), (8, 0.25, 0.75)):
        model = ladder.remove(model, data())
        ladder.after_step(model, 0.1)
        merged = {name: product(one) for name, one in model.named_children() if isinstance(one, nn.Sequential)}
        assert merged, "layers of low rank"
        layers = {name: merged.get(name, one) for name, one in model.named_children()}
        shapes = {name: tuple(one.weight.shape) for name, one in layers.items() if isinstance(one, nn.Linear)}
        assert shapes == {"0": (channels_left, 8), "2": (channels_left, channels_left), "4": (4, channels_left)}
        ranks = {name: model.get_submodule(name)[0].out_features for name in merged}  # type: ignore[index]
        for name, rank in ranks.items():
            outputs, inputs = shapes[name]
            assert rank == int((1 - removed) * outputs * inputs / (outputs + inputs))
        point = ladder.finish(copy.deepcopy(model), data())[-1]
        weights = torch.cat([weight.detach().flatten() for weight in matrices(point.model).values()])
        assert int((weights == 0).sum()) == int(zeros * len(weights))
        with torch.no_grad():
            for weight in model.parameters():  # a recovery may change every weight but those under a mask
                weight.add_(0.01)
        ladder.after_step(model, 0.1)


def test_movement_has_no_ladder_after_structures_but_one_by_itself() -> None:
    with pytest.raises(InputError, match="movement sums over weights whose shapes the next rung changes"):
        method("channels", "movement").for_ladder()
    assert method("movement").for_ladder()


def test_stages_behind_one_whose_result_training_decides_are_checked_before_a_training() -> None:
    """No size is known then, and a stage that has nothing to remove is an error nevertheless."""
    arguments, sizes = (torch.randn(2, 8),), {"spr": {}}
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

    def presized(*stages: Any) -> Any:
        _, plugin, config = plugins.configure("sparsity", {"composed": {"stages": [sizes, *stages]}})
        return plugin.build(config, 0.5).presized(copy.deepcopy(network), arguments)

    assert presized("low_rank") is None and presized({"n_m": {"m": 2}}) is None
    with pytest.raises(InputError, match="n_m: no layer has a number of inputs that 5 divides"):
        presized({"n_m": {"m": 5}})
