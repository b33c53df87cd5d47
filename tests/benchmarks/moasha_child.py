"""Syne Tune's MOASHA as it is shipped, behind a pipe: runs in an environment of its own and imports nothing of ours.

One JSON document a line. {"metrics", "epochs", "seed"} first; then {"ask": number} → the number of the arrival to try, or
{"trial", "epoch", "values"} → Syne Tune's decision. MOASHA's `suggest` draws every value of the space by itself, without a
model: here the space is one value, the next arrival, so that it meets configs in the order in which other random searches do.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA


class Arrivals:
    def __init__(self) -> None:
        self.count = -1

    def sample(self) -> int:
        self.count += 1
        return self.count


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    np.random.seed(asked["seed"])  # it suggestions brackets and the first of a front from numpy's global generator
    scheduler = MOASHA(
        config_space={"arrival": Arrivals()}, metrics=asked["metrics"], do_minimize=True, time_attr="epoch",
        max_t=asked["epochs"], grace_period=1, reduction_factor=3, random_seed=asked["seed"],
    )  # fmt: skip
    trials: dict[int, Trial] = {}
    for line in sys.stdin:
        told = json.loads(line)
        if "ask" in told:
            config = scheduler.suggest().config
            trials[told["ask"]] = Trial(trial_id=told["ask"], config=config, creation_time=datetime.now())
            scheduler.on_trial_add(trials[told["ask"]])
            answer = config["arrival"]
        else:
            trial = trials[told["trial"]]
            result = {"epoch": told["epoch"], **dict(zip(asked["metrics"], told["values"], strict=True))}
            answer = scheduler.on_trial_result(trial, result)
            if answer == SchedulerDecision.STOP:
                scheduler.on_trial_remove(trials.pop(told["trial"]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
