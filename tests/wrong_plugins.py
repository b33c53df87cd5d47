"""Plugins of a user's own, each wrong in one way. Specs refer to what is here as `tests.wrong_plugins:Name`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from optuna.samplers import RandomSampler
from torch import Tensor, nn

from tutelage import plugins
from tutelage.data import Examples, Field, SplitName, classified
from tutelage.measure import Measure
from tutelage.plugins import PluginConfig
from tutelage.search.rules import RuleContext, RuleJudge

NAMES = ("a", "b", "c")
ROWS = {"train": slice(0, 60), "validation": slice(60, 90), "test": slice(90, 120)}


class Config(PluginConfig):
    """No options."""


def plugin(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"__doc__": "A plugin.", "SPACE": {}, "Config": Config, **parts})


def raising(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("on purpose")


def leaving(*_: Any, **__: Any) -> Any:
    sys.exit(3)


# Data


def vectors(split: SplitName) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32))[ROWS[split]]


def source(change: Callable[[Tensor, Tensor, SplitName], Any]) -> SimpleNamespace:
    return plugin(read=lambda config, seed, split: change(vectors(split), torch.arange(120)[ROWS[split]] % 3, split))


def of_field(values: Any, labels: Tensor, names: Any = NAMES, notes: Any = ()) -> Examples:
    targets = {"class": Field(values=labels, kind="class", names=names)}
    return Examples(inputs={"inputs": Field(values=values)}, targets=targets, notes=notes)


class KeyedConfig(PluginConfig):
    """Options with secrets."""

    api_key: str = ""
    source: str = ""


Keyed = plugin(read=raising, Config=KeyedConfig)
GoodData = source(lambda x, y, split: classified(x, y, NAMES))
NoExamples = source(lambda x, y, split: None)
RaisingData = plugin(read=raising)
LeavingData = plugin(read=leaving)
FewArguments = plugin(read=lambda config: None)
NotANumber = source(lambda x, y, split: classified(x * float("nan"), y, NAMES))
NoValidation = source(lambda x, y, split: classified(*((x, y) if split == "train" else (x[:0], y[:0])), NAMES))
OtherWidth = source(lambda x, y, split: classified(x if split == "train" else x[:, 1:], y, NAMES))
OtherOrder = source(lambda x, y, split: classified(x, y, NAMES if split == "train" else NAMES[::-1]))
OtherMean = source(lambda x, y, split: classified(x, y, NAMES, mean=(float(split == "train"),) * 8, std=(1.0,) * 8))
Chance = source(lambda x, y, split: classified(torch.randn(30, 8), y[:30], NAMES))
Arrays = source(lambda x, y, split: of_field(x.numpy(), y))
Gradients = source(lambda x, y, split: of_field(x.requires_grad_(), y))
NoSuchClass = source(lambda x, y, split: of_field(x, y + 1))
Unlabelled = source(lambda x, y, split: of_field(x, y if split == "train" else y - y - 1))
SameNames = source(lambda x, y, split: of_field(x, y, ("a", "a", "c")))
Numbers = source(lambda x, y, split: of_field(x, y, (0, 1, 2)))
NotText = source(lambda x, y, split: of_field(x, y, ("a\udce9", "b", "c")))
OneNote = source(lambda x, y, split: of_field(x, y, notes="a sentence"))
NoConfig = SimpleNamespace(read=raising)
NumberAsConfig = SimpleNamespace(read=raising, Config=3)
ReadIsANumber = plugin(read=3)

# Tasks


def task(**changes: Any) -> SimpleNamespace:
    def build(config: Config) -> Any:
        _, own, options = plugins.configure("tasks", "tabular_classification")
        built = own.build(options)
        for name, value in changes.items():
            setattr(built, name, value)
        return built

    return plugin(build=build)


def contributions(values: Callable[[int], Tensor]) -> Callable[..., Any]:
    return lambda sequences, batch: {name: values(len(batch)) for name in ("accuracy", "calibration_error")}


RaisingTask = plugin(build=raising)
WordsAsMeasures = task(measures=("accuracy",))
NoMeasures = task(measures=())
NoOutputs = task(outputs=lambda examples: None)
RaisingOutputs = task(outputs=raising)
RaisingForward = task(forward=raising)
NothingForward = task(forward=lambda model, batch: None)
ScalarLoss = task(loss=lambda sequences, batch, smoothing=0.0: sequences["class"].logits.mean())
NanLoss = task(loss=lambda sequences, batch, smoothing=0.0: sequences["class"].logits.mean(dim=(1, 2)) * float("nan"))
NoGradient = task(loss=lambda sequences, batch, smoothing=0.0: torch.zeros(len(batch)))
RaisingLoss = task(loss=raising)
NoContributions = task(evaluate=lambda sequences, batch: {})
NanContributions = task(evaluate=contributions(lambda count: torch.full((count, 2), float("nan"))))
OtherCount = task(evaluate=contributions(lambda count: torch.zeros(count + 1, 2)))
RaisingEvaluate = task(evaluate=raising)
FlatDecoded = task(decoded_labels=lambda sequences, batch: {"class": sequences["class"].logits[:, 0].argmax(-1)})
LargeDecoded = task(decoded_labels=lambda sequences, batch: {"class": torch.full((len(batch), 1), 99)})
NanBaseline = task(baseline=lambda train, validation: float("nan"))
WordAsBaseline = task(baseline=lambda train, validation: "high")

# Measures


def measure(name: str, **parts: Any) -> Measure:
    return Measure(name=name, label=name, unit="u", direction="minimise", meaning=name, **parts)


def not_a_number(model: nn.Module, batch: Any) -> float:
    return float("nan")


def a_word(model: nn.Module, batch: Any) -> Any:
    return "five"


def two_numbers(model: nn.Module, batch: Any) -> Any:
    return torch.ones(2)


def negative(model: nn.Module, batch: Any) -> float:
    return -5.0


def zeroing(model: nn.Module, batch: Any) -> float:
    for weight in model.parameters():
        weight.data.zero_()
    return 1.0


def training(model: nn.Module, batch: Any) -> float:
    model.train()
    return 1.0


def flat(sequences: Any, batch: Any) -> Tensor:
    return torch.zeros(len(batch))


NAN, WORD, TWO = (measure(f.__name__, of_network=f) for f in (not_a_number, a_word, two_numbers))
RAISING, ZEROING, TRAINING = (measure(f.__name__, of_network=f) for f in (raising, zeroing, training))
NEGATIVE = measure("negative", of_network=negative, low=0.0)
FORMAT = measure("format", of_network=negative, format="zz")
LAMBDA = measure("lambda_", of_network=lambda model, batch: 1.0)
NOTHING = measure("nothing")
FLAT = measure("flat", of_outputs=flat, spread="mean")
RAISING_OUTPUTS = measure("raising_outputs", of_outputs=raising, spread="mean")

# Rules


class Patient:
    def stops(self, *_: Any) -> bool:
        return False

    def finished(self, *_: Any) -> None:
        pass


def rule(of_rule: dict[str, Any] | None = None, **of_judge: Any) -> SimpleNamespace:
    def build(config: Config, context: RuleContext) -> Any:
        own = Patient()
        vars(own).update(of_rule or {})
        judge = RuleJudge(own, context)
        vars(judge).update(of_judge)
        return judge

    return plugin(build=build)


GoodRule = rule()
RaisingRule = plugin(build=raising)
NoJudge = plugin(build=lambda config, context: None)
OnlyARule = plugin(build=lambda config, context: Patient())
RaisingStops = rule({"stops": raising})
FewStops = rule({"stops": lambda rung: False})
RaisingFinished = rule({"finished": raising})
OtherWord = rule(judge=lambda suggestion, row: "maybe")
SecretPause = rule(judge=lambda suggestion, row: "pause")
NoRungs = rule(rungs=None)
NameAsPromoted = rule(promoted=lambda is_last: "t0001")

# Samplers


class Drawing(RandomSampler):
    """A sampler whose suggestions a function makes."""

    def __init__(self, seed: int, draws: Callable[[Sequence[Any]], Any]) -> None:
        super().__init__(seed)
        self._draws = draws

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return self._draws(study.get_trials(deepcopy=False))


def sampler(draws: Callable[[Sequence[Any]], Any]) -> SimpleNamespace:
    return plugin(build=lambda config, seed: Drawing(seed, draws))


GoodSampler = plugin(build=lambda config, seed: RandomSampler(seed))
RaisingSampler = plugin(build=raising)
SamplerClass = plugin(build=lambda config, seed: RandomSampler)
WordSampler = sampler(lambda trials: "nonsense")
OutsideSampler = sampler(lambda trials: 1e9)


class Hearing(RandomSampler):
    """A sampler that raises when a trial ends."""

    def after_trial(self, *_: Any) -> None:
        raising()


HearingSampler = plugin(build=lambda config, seed: Hearing(seed))
LateSampler = sampler(lambda trials: raising() if len(trials) > 3 else 0.001)

# Distillation losses


class Applied(nn.Module):
    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, student: Any, teacher: Any) -> Any:
        return self.function(student, teacher)


def loss(function: Callable[[Any, Any], Any], **parts: Any) -> SimpleNamespace:
    return plugin(**{"NEEDS": frozenset({"logits"}), "build": lambda *_: Applied(function), **parts})


GoodDistillation = loss(lambda student, teacher: (student.logits - teacher.logits).square().mean())
KeyedLoss = loss(raising, Config=KeyedConfig)
RaisingBuild = loss(raising, build=raising)
RaisingDistillation = loss(raising)
NanDistillation = loss(lambda student, teacher: student.logits.mean() * float("nan"))
VectorDistillation = loss(lambda student, teacher: student.logits.flatten())
ConstantDistillation = loss(lambda student, teacher: torch.tensor(1.0))
NeedsAWord = loss(raising, NEEDS="logits")
NeedsUnknown = loss(raising, NEEDS=frozenset({"everything"}))
NoNeeds = SimpleNamespace(SPACE={}, Config=Config, build=raising)

# Policies


def policy(scores: Callable[[Any], Any], **parts: Any) -> SimpleNamespace:
    return plugin(scores=lambda config, front, context: scores(front), **parts)


KeyedPolicy = policy(lambda front: [1.0] * len(front), Config=KeyedConfig)
RaisingPolicy = plugin(scores=raising)
LeavingPolicy = plugin(scores=leaving)
FewScores = policy(lambda front: [])
NanScores = policy(lambda front: [float("nan")] * len(front))
WordScores = policy(lambda front: ["a"] * len(front))
RaisingReason = policy(lambda front: [1.0] * len(front), reason=raising)
Emptying = policy(lambda front: [record.measures.clear() or 1.0 for record in front])
