"""Which searched parameter moved which objective: the loss of a random forest when its values are shuffled (Breiman, 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.objectives import Objective
from tutelage.records.trial import TrialRecord

MIN_TRIALS, MIN_R2 = 20, 0.3  # fewer trials, or a forest that predicts worse, and nothing is shown


TREES, FOLDS, SHUFFLES = 100, 5, 5


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much of one objective's spread hangs on each parameter, over `num_trials` finished trials.

    `shares` are the falls of the forest's R² on held-out trials when a parameter's values are shuffled among them, largest
    first, negative ones as 0; they need not add up to `r2`, the forest's own on held-out trials. Empty below `MIN_R2`.
    """

    objective: str
    num_trials: int
    r2: float
    shares: dict[str, float]


def importances(records: Sequence[TrialRecord], objectives: Sequence[Objective], seed: int = 0) -> list[Importance]:
    """Return for each objective what the searched parameters explain of it; none with fewer than 20 finished trials.

    Minimised objectives are taken as logarithms, since they span decades; a choice is one column a value, shuffled as one;
    where a parameter is inactive it has the median of the others, so that it does not tell of the choice that made it so.
    """
    finished = [record for record in records if record.state == "finished"]
    names = sorted({name for record in finished for name in record.params})
    groups = {name: columns for name in names if len(np.unique(columns := _columns(finished, name), axis=0)) > 1}
    if len(finished) < MIN_TRIALS or not groups:
        return []
    return [_of_objective(objective, finished, groups, seed) for objective in objectives]


def _columns(records: Sequence[TrialRecord], name: str) -> NDArray[np.float64]:
    values = [record.params.get(name) for record in records]
    if all(value is None or isinstance(value, int | float) for value in values):
        middle = float(np.median([float(value) for value in values if value is not None]))
        return np.array([[middle if value is None else float(value)] for value in values])
    choices = sorted({str(value) for value in values})
    return np.array([[float(str(value) == choice) for choice in choices] for value in values])


def _of_objective(
    objective: Objective, records: Sequence[TrialRecord], groups: dict[str, NDArray[np.float64]], seed: int
) -> Importance:
    from sklearn.ensemble import RandomForestRegressor  # a second, for reports only
    from sklearn.model_selection import KFold

    target = np.array([record.measures[objective.name] for record in records])
    if objective.direction == "minimise" and target.min() > 0:
        target = np.log(target)
    variance = target.var()
    if variance == 0:
        return Importance(objective=objective.name, num_trials=len(records), r2=0.0, shares={})
    matrix, draw = np.hstack(list(groups.values())), np.random.default_rng(seed)
    ends = np.cumsum([columns.shape[1] for columns in groups.values()])
    error, shuffled = 0.0, dict.fromkeys(groups, 0.0)
    for fit, held_out in KFold(FOLDS, shuffle=True, random_state=seed).split(matrix):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed).fit(matrix[fit], target[fit])
        inputs = [matrix[held_out]]
        for name, end in zip(groups, ends, strict=True):
            span = slice(end - groups[name].shape[1], end)
            for _ in range(SHUFFLES):
                other = matrix[held_out].copy()
                other[:, span] = draw.permutation(other[:, span])
                inputs.append(other)
        predicted = forest.predict(np.vstack(inputs)).reshape(len(inputs), -1)
        errors = ((predicted - target[held_out]) ** 2).sum(axis=1)
        error += float(errors[0])
        for name, worse in zip(groups, errors[1:].reshape(len(groups), SHUFFLES).mean(axis=1), strict=True):
            shuffled[name] += float(worse)
    total = variance * len(target)
    r2 = float(1 - error / total)
    shares = {name: max(0.0, float((worse - error) / total)) for name, worse in shuffled.items()}
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1])) if r2 >= MIN_R2 else {}
    return Importance(objective=objective.name, num_trials=len(records), r2=r2, shares=ordered)
