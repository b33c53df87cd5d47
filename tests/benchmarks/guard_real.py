"""Real guards of the benchmark of the guard: ladders of students of the digits, and of a subset of CIFAR-100.

On the digits every guard has a student of its own. On CIFAR-100 the guards of one student share its ladder: each draws its
examples from the images that neither the student nor the test split has, and halves them. So a guard costs a few tests and no
training, and guards of one student differ as guarantees do: by the examples that certify. Two guards may share examples.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.measures.accuracy import MEASURE as ACCURACY
from tutelage.selection.certification import fixed_sequence
from tutelage.sparsity import Point
from tutelage.spec import loading
from tutelage.spec.sections import TrialConfig
from tutelage.training import inference, loop, student
from tutelage.training.context import TrainingContext

Answers = NDArray[np.float64]  # [n, 1], 1 where a network is right
CONFIDENCE = 0.95
NOISE = 1.64  # standard errors by which a drop is above the bound for more than noise
DIGITS: dict[str, Any] = {
    "data": {"digits": {"validation_share": 0.3, "test_share": 0.49}},
    "student": {"model": {"mlp": {"hidden": 64, "depth": 2}}},
    "sparsity": {"amount": 0.8, "method": "channels", "ladder": {"rungs": 8, "spacing": "linear", "recovery_epochs": 3}},
}
CIFAR: dict[str, Any] = {
    "data": {"cifar": {"validation_share": 0.49, "per_class": 100}},
    "augmentation": {"pad_px": 4, "flip": True},
    "student": {
        "model": {"resnet": {"blocks": 1, "width": 16, "stem_stride": 2}}, "batch_size": 64, "optimizer": "sgd",
        "learning_rate": 0.1, "weight_decay": 5e-4,
    },
    "sparsity": {"amount": 0.8, "method": "channels", "ladder": {"rungs": 8, "spacing": "linear", "recovery_epochs": 1}},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The true drop of the candidate that a guard takes (0 for the reference), and whether it is another than the reference."""

    drop: float
    is_smaller: bool


def certified(
    reference: Answers, candidates: Sequence[Answers], order: Sequence[int], max_drop: float, drops: Sequence[float]
) -> Taken:  # fmt: skip
    """Return the strongest candidate that the guard certifies in this order."""
    steps = fixed_sequence(ACCURACY, reference, ((str(one), candidates[one]) for one in order), max_drop, CONFIDENCE)
    passed = [int(step.trial) for step in steps if step.passed]
    return Taken(drop=drops[max(passed)] if passed else 0.0, is_smaller=bool(passed))


def usual(reference: Answers, candidates: Sequence[Answers], max_drop: float, drops: Sequence[float]) -> Taken:
    """Return the strongest candidate whose drop on these very examples is within the bound."""
    within = [one for one, own in enumerate(candidates) if float((reference - own).mean()) <= max_drop]
    return Taken(drop=drops[max(within)] if within else 0.0, is_smaller=bool(within))


def on_digits(guards: int, epochs: int, max_drop: float) -> Iterator[dict[str, Any]]:
    """Yield what both kinds of guard take for each of `guards` students, each with a split of its own."""
    loaded, config = _loaded(DIGITS, epochs)
    for seed in range(guards):
        context = TrainingContext(data=loaded.data, task=loaded.task, seed=seed, has_guard=True)
        points = _trained(config, context, seed)
        examples = (context.splits["validation"], context.certification, context.read("test"))
        decision, certification, test = (_answers(points, context, one) for one in examples)
        yield from _rows(seed, decision, certification, test, max_drop)


def on_cifar(path: str, students: int, guards: int, epochs: int, examples: int, max_drop: float) -> Iterator[dict[str, Any]]:
    """Yield what both kinds of `guards` guards, each with 2 · `examples` images, take of each of `students` ladders."""
    data = {"cifar": {**CIFAR["data"]["cifar"], "path": path}}
    loaded, config = _loaded({**CIFAR, "data": data}, epochs)
    for seed in range(students):
        context = TrainingContext(data=data, task=loaded.task, seed=seed, augmentation=loaded.augmentation)
        points = _trained(config, context, seed)
        pool, test = (_answers(points, context, context.read(split)) for split in ("validation", "test"))
        for guard in range(seed * guards, (seed + 1) * guards):
            drawn = np.random.default_rng(guard).permutation(len(pool[0]))[: 2 * examples]
            decision, certification = ([own[half] for own in pool] for half in (drawn[0::2], drawn[1::2]))
            yield from _rows(guard, decision, certification, test, max_drop)


def _loaded(sections: dict[str, Any], epochs: int) -> tuple[Any, TrialConfig]:
    from tests.conftest import SMALL_SPEC

    student_section = {**sections["student"], "epochs": epochs}
    loaded = loading.from_dict(
        {**SMALL_SPEC, **sections, "student": student_section, "distillation": {"weight": 0.0}}
    )  # fmt: skip
    return loaded, loaded.trial_config(loaded.space.resolve(lambda name, domain: None)[0])


def _trained(config: TrialConfig, context: TrainingContext, seed: int) -> Sequence[Point]:
    training = loop.Training(student.build(config, context, seed), student.plan(config, context, seed))
    while not training.is_done:
        training.epoch()
    return training.finish()


def _answers(points: Sequence[Point], context: TrainingContext, examples: Any) -> list[Answers]:
    return [inference.contributions_of(one.model, context.built_task, examples)["accuracy"] for one in points]


def _rows(
    guard: int, decision: Sequence[Answers], certification: Sequence[Answers], test: Sequence[Answers], max_drop: float
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield what the certified and the usual guard take, with its drop on the test split and that drop's standard error."""
    drops = [float((test[0] - own).mean()) for own in test[1:]]
    both = [np.concatenate(pair) for pair in zip(decision, certification, strict=True)]
    for kind, taken in (
        ("ladder", certified(certification[0], certification[1:], range(len(drops)), max_drop, drops)),
        ("usual", usual(both[0], both[1:], max_drop, drops)),
    ):
        differing = next(
            (float((test[0] != own).mean()) for drop, own in zip(drops, test[1:], strict=True) if drop == taken.drop), 0.0
        )
        row = {
            "guard": guard, "kind": kind, "drop": taken.drop, "is_smaller": taken.is_smaller, "n": len(certification[0]),
            "error": math.sqrt(max(0.0, differing - taken.drop**2) / len(test[0])) if taken.is_smaller else 0.0,
            "dense": float(test[0].mean()), "drops": drops,
        }  # fmt: skip
        print(row, file=sys.stderr, flush=True)
        yield row


def table(rows: Sequence[dict[str, Any]], max_drop: float, kinds: dict[str, str]) -> list[dict[str, Any]]:
    """Return a row for each kind of guard; noise is 1.64 standard errors of a drop."""

    def share(own: Sequence[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> str:
        return f"{sum(map(holds, own))} of {len(own)}"

    found = []
    for kind in ("ladder", "usual"):
        own = [row for row in rows if row["kind"] == kind]
        found.append(
            {
                "guard": kinds[kind], "certification examples": own[0]["n"], "bound": f"{100 * max_drop:g} points",
                "drop on test below it": share(own, lambda row: row["drop"] < max_drop),
                "above it by more than noise": share(own, lambda row: row["drop"] - NOISE * row["error"] >= max_drop),
                "takes a smaller one": share(own, lambda row: row["is_smaller"]),
                "drop on test, points": f"{100 * np.mean([row['drop'] for row in own]):.2f}",
                "its standard error": f"{100 * np.mean([row['error'] for row in own]):.2f}",
                "largest drop": f"{100 * max(row['drop'] for row in own):.2f}",
            }
        )  # fmt: skip
    return found
