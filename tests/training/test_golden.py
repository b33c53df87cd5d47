"""A training of twenty steps, computed a second time from the formulas: rates, losses, updates, averages, measures."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tutelage.data import Examples, classified
from tutelage.losses import PerSequence, kd
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.spec.sections import RecipeConfig
from tutelage.tasks import tabular_classification
from tutelage.training import loop
from tutelage.training.plan import Distillation, Phase, TrainingPlan

SEED, CLASSES, BATCH, STEPS_AN_EPOCH, EPOCHS = 5, 4, 16, 4, 5
TEMPERATURE, WEIGHT = 2.0, 0.6
PHASES = (Phase(epochs=1, is_distilled=False), Phase(epochs=3), Phase(epochs=1, is_distilled=False, rate=0.1))
SIGNATURE = Signature(
    inputs=(InputSpec(name="inputs", kind="vector", shape=(6,)),), outputs=(OutputSpec(name="class", names=tuple("abcd")),)
)


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return classified(torch.randn(count, 6, generator=generator), labels, tuple("abcd"))


TRAIN, VALIDATION = examples(STEPS_AN_EPOCH * BATCH + 3, 1), examples(37, 2)  # the last three of an epoch are left out
TEACHER = torch.randn(2, len(TRAIN), 1, CLASSES, generator=torch.Generator().manual_seed(3)) * 3  # logits of two views


def network() -> nn.Module:
    torch.manual_seed(SEED)
    return nn.Sequential(
        nn.Linear(6, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 5),
        nn.ReLU(),
        nn.Linear(5, 8),
        nn.Linear(8, CLASSES),
    )


def plan(recipe: RecipeConfig) -> TrainingPlan:
    return TrainingPlan(
        task=tabular_classification.build(tabular_classification.Config()), train=TRAIN, validation=VALIDATION,
        signature=SIGNATURE, recipe=recipe, seed=SEED, views=2, view_seed=9, phases=PHASES,
        distillation=Distillation(
            query=lambda view, rows, batch: {"logits.class": TEACHER[view, rows]},
            build=lambda model: PerSequence({"class": kd.SoftTargets(TEMPERATURE)}), weight=WEIGHT,
        ),
    )  # fmt: skip


# The same training from its formulas


def rates(recipe: RecipeConfig) -> list[float]:
    """Return the learning rate of every step: each phase has a cycle of its own, whose ends, with rate 0, are no steps."""
    found = []
    for phase in PHASES:
        count = phase.epochs * STEPS_AN_EPOCH
        for step in range(1, count + 1):
            x = step / (count + 1)
            up_and_down = x / 0.2 if x < 0.2 else (1 - x) / 0.8
            tenths = (x >= 0.625) + (x >= 0.75) + (x >= 0.875)
            share = up_and_down if recipe.schedule == "one_cycle" else 0.1**tenths
            found.append(recipe.learning_rate * phase.rate * share)
    return found


def batches(epoch: int) -> Iterator[Tensor]:
    order = torch.randperm(len(TRAIN), generator=torch.Generator().manual_seed(SEED * 1_000_003 + epoch))
    yield from order[: STEPS_AN_EPOCH * BATCH].split(BATCH)


def loss_of(model: nn.Module, rows: Tensor, view: int, smoothing: float, *, is_distilled: bool) -> Tensor:
    inputs, labels = TRAIN.take(rows).inputs["inputs"], TRAIN.take(rows).targets["class"]
    logits = model(inputs)
    logs = logits.log_softmax(dim=1)
    wanted = functional.one_hot(labels, CLASSES) * (1 - smoothing) + smoothing / CLASSES
    of_labels = -(wanted * logs).sum(dim=1).mean()
    if not is_distilled:
        return of_labels
    target = (TEACHER[view, rows, 0] / TEMPERATURE).softmax(dim=1)
    softened = (logits / TEMPERATURE).log_softmax(dim=1)
    divergence = TEMPERATURE**2 * (target * (target.log() - softened)).sum(dim=1).mean()
    return (1 - WEIGHT) * of_labels + WEIGHT * divergence


class Updates:
    """The update rule of each optimiser, one state for each weight."""

    def __init__(self, recipe: RecipeConfig, model: nn.Module) -> None:
        self.recipe, self.model = recipe, model
        self.state: dict[str, dict[str, Any]] = {name: {} for name, _ in model.named_parameters()}
        matrices = [name for name, weight in model.named_parameters() if weight.ndim > 1]
        self.inner = matrices[1:-1]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for name, weight in self.model.named_parameters():
            decay = self.recipe.weight_decay if weight.ndim > 1 else 0.0
            gradient = weight.grad
            assert gradient is not None
            if self.recipe.optimizer == "sgd":
                self._sgd(self.state[name], weight, gradient + decay * weight, rate)
                continue
            weight.mul_(1 - rate * decay)
            rule = self._muon if self.recipe.optimizer == "muon" and name in self.inner else self._adam
            rule(self.state[name], weight, gradient, rate)

    def _sgd(self, state: dict[str, Any], weight: Tensor, gradient: Tensor, rate: float) -> None:
        state["velocity"] = 0.9 * state["velocity"] + gradient if "velocity" in state else gradient.clone()
        weight.sub_(rate * (gradient + 0.9 * state["velocity"]))

    def _adam(self, state: dict[str, Any], weight: Tensor, gradient: Tensor, rate: float) -> None:
        t = state["t"] = state.get("t", 0) + 1
        state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * gradient
        state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * gradient**2
        weight.sub_(rate * (state["m"] / (1 - 0.9**t)) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-8))

    def _muon(self, state: dict[str, Any], weight: Tensor, gradient: Tensor, rate: float) -> None:
        state["m"] = 0.95 * state.get("m", 0.0) + 0.05 * gradient
        direction = 0.95 * state["m"] + 0.05 * gradient
        x = direction / (direction.norm() + 1e-7)
        for _ in range(5):  # the iteration of tall matrices is that of their transposes
            x = 3.4445 * x + (-4.7750 * (x @ x.T) + 2.0315 * (x @ x.T) @ (x @ x.T)) @ x
        weight.sub_(rate * 0.2 * max(weight.shape) ** 0.5 * x)


def reference(recipe: RecipeConfig) -> tuple[nn.Module, list[dict[str, float]]]:
    """Return the network that the recipe trains, and for every epoch its mean loss and its accuracy on validation."""
    model, rows, every_rate = network(), list[dict[str, float]](), iter(rates(recipe))
    for phase in PHASES:
        updates, average, steps = Updates(recipe, model), copy.deepcopy(model), 0
        for _ in range(phase.epochs):
            epoch, losses = len(rows), []
            for some in batches(epoch):
                model.train().zero_grad()
                loss = loss_of(model, some, epoch % 2, recipe.label_smoothing, is_distilled=phase.is_distilled)
                loss.backward()  # type: ignore[no-untyped-call]
                updates.step(next(every_rate))
                losses.append(loss.item())
                steps += 1
                decay = min(recipe.average_decay, (1 + steps) / (10 + steps))
                for name, tensor in average.state_dict().items():
                    if tensor.is_floating_point():
                        tensor.copy_(decay * tensor + (1 - decay) * model.state_dict()[name])
            shown = average if recipe.average_decay else model
            batch = VALIDATION.take(slice(None))
            right = shown.eval()(batch.inputs["inputs"]).argmax(dim=1) == batch.targets["class"]
            rows.append({"train_loss": sum(losses) / len(losses), "accuracy": right.double().mean().item()})
        if recipe.average_decay:
            model.load_state_dict({**model.state_dict(), **{n: t for n, t in average.state_dict().items() if t.ndim}})
    return model, rows


RECIPE = RecipeConfig(
    epochs=EPOCHS, batch_size=BATCH, learning_rate=0.05, weight_decay=0.1, label_smoothing=0.2, average_decay=0.8
)
RECIPES = {
    "adamw": RECIPE,
    "sgd": RECIPE.model_copy(update={"optimizer": "sgd"}),
    "muon": RECIPE.model_copy(update={"optimizer": "muon"}),
    "step": RECIPE.model_copy(update={"schedule": "step"}),
    "no average": RECIPE.model_copy(update={"average_decay": 0.0, "label_smoothing": 0.0}),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_twenty_steps_of_training_follow_the_formulas(recipe: RecipeConfig) -> None:
    shown: list[list[float]] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, args, kwargs: shown.append([group["lr"] for group in optimizer.param_groups])
    )
    training = loop.Training(network(), plan(recipe))
    try:
        rows = [training.epoch() for _ in range(EPOCHS)]
    finally:
        hook.remove()
    model, expected = reference(recipe)
    assert [rate for groups in shown for rate in groups] == pytest.approx(
        [rate for rate, groups in zip(rates(recipe), shown, strict=True) for _ in groups]
    )
    for row, wanted in zip(rows, expected, strict=True):
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    for (name, own), other in zip(training.model.state_dict().items(), model.state_dict().values(), strict=True):
        if own.is_floating_point():
            torch.testing.assert_close(own, other, rtol=2e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
