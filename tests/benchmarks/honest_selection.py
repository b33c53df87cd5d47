"""How far a selection's promise holds: sweeps of noisy validation, selected naively and after fresh seeds.

    python -m tests.benchmarks.honest_selection [--sweeps 200] [--real N]

Simulated: each sweep has 200 students whose true accuracies follow the logarithm of their size, with a scatter; a training's
own accuracy varies by its seed; validation examples of uneven difficulty are shared by all students of a sweep. Naive takes the
policy's student by validation and promises Wilson's interval for it; ours is `confirming.Race` as `tutelage select` runs it.
A promise holds if the true accuracy of the delivered weights, those of the search, lies in it.

`--real N` trains N sweeps of digits, each on another split, selects as the command line does, and sets what was promised
against the test split, which no choice has seen.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tutelage.confirming import Race
from tutelage.intervals import wilson_interval
from tutelage.objectives import KNOWN, Limits
from tutelage.record import TrialRecord
from tutelage.selection import Question

POLICIES = {
    "max-accuracy": ("max-accuracy", Limits()),
    "max-accuracy, params ≤ 10k": ("max-accuracy", Limits(max={"params": 10_000.0})),
    "smallest-within 0.01": ({"smallest-within": {"within": 0.01}}, Limits()),
    "min-size, accuracy ≥ 0.93": ("min-size", Limits(min={"accuracy": 0.93})),
    "knee": ("knee", Limits()),
}
OBJECTIVES = (KNOWN["accuracy"], replace(KNOWN["params"], reference=1e6))


@dataclass
class World:
    """A simulated sweep: what is true, and what validation shows of it."""

    params: np.ndarray
    skills: np.ndarray  # on the scale of logits: a student is right on an example of difficulty d with logistic(skill - d)
    seed_sd: float
    difficulties: np.ndarray  # of the validation examples
    rng: np.random.Generator

    @classmethod
    def made(cls, seed: int, num_students: int, num_judged: int, seed_sd: float) -> World:
        rng = np.random.default_rng(seed)
        params = 10 ** rng.uniform(2.3, 5, num_students)
        skills = 1.0 + 1.3 * (np.log10(params) - 2.3) + rng.normal(0, 0.25, num_students) - rng.exponential(0.35, num_students)
        return cls(params, skills, seed_sd, rng.normal(0, 1.5, num_judged), rng)

    def train(self, student: int) -> tuple[float, float]:
        """Return a training's true accuracy and what it has on validation."""
        skill = self.skills[student] + self.rng.normal(0, self.seed_sd)
        shown = self.rng.random(len(self.difficulties)) < _right(skill, self.difficulties)
        return float(_right(skill, ALL).mean()), float(shown.mean())


ALL = np.random.default_rng(12345).normal(0, 1.5, 20_000)


def _right(skill: float, difficulties: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-2.5 * (skill - difficulties)))


def simulated(sweeps: int, num_judged: int, seed_sd: float, seeds: int, most: int, policy: str) -> dict[str, list[float]]:
    reference, limits = POLICIES[policy]
    question = Question(policy=reference, objectives=OBJECTIVES, limits=limits)
    found: dict[str, list[float]] = {}

    def add(**values: float) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(value)

    for number in range(sweeps):
        world = World.made(number, 200, num_judged, seed_sd)
        outcomes = [world.train(student) for student in range(200)]
        records = [
            TrialRecord(
                number=i, trial_id=f"t{i:04d}", state="finished", params={}, config={},
                measures={"accuracy": shown, "params": float(world.params[i])},
            )
            for i, (_, shown) in enumerate(outcomes)
        ]  # fmt: skip
        ranked = question.ranked(records)
        if not ranked:
            continue
        naive = ranked[0].number
        low, high = wilson_interval(outcomes[naive][1] * num_judged, num_judged)
        add(naive_holds=low <= outcomes[naive][0] <= high, naive_optimism=outcomes[naive][1] - outcomes[naive][0])
        add(naive_true=outcomes[naive][0], naive_width=high - low, naive_params=world.params[naive])
        race = Race(question=question, records=records, num_judged=num_judged, seeds=seeds, seed=number)

        def train(trials: Sequence[str], world: World = world) -> Mapping[str, Sequence[float]]:
            return {trial: [world.train(int(trial[1:]))[1] for _ in range(seeds)] for trial in trials}

        fresh = race.run({}, train, most=most)
        estimates, ours = race.estimates(fresh), question.ranked(race.cautious(fresh))
        ours = [one for one in ours if one.trial_id in fresh]
        add(retrained=len(fresh), refused=not ours)
        if not ours:
            continue
        taken, estimate = ours[0].number, estimates[ours[0].trial_id]
        true = outcomes[taken][0]
        add(holds=estimate.interval[0] <= true <= estimate.interval[1], lower_holds=estimate.lower <= true)
        add(optimism=estimate.mean - true, width=estimate.interval[1] - estimate.interval[0], true=true, changed=taken != naive)
        add(params=world.params[taken], limit_held=limits.min.get("accuracy", 0.0) <= true)
        add(naive_limit_held=limits.min.get("accuracy", 0.0) <= outcomes[naive][0])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=6)
    asked = parser.parse_args()
    for num_judged, sd in ((360, 0.15), (2000, 0.15), (360, 0.0)):
        for policy in POLICIES:
            found = simulated(asked.sweeps, num_judged, sd, asked.seeds, asked.most, policy)
            print(num_judged, sd, policy, {name: round(float(np.mean(values)), 4) for name, values in found.items()})
