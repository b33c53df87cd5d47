"""A space and its objectives ↔ Optuna: the one place that imports optuna.

Optuna's record lies in a journal file, so that a search can go on after its driver is gone and `optuna-dashboard` can
read it. States are told as they are: only a finished trial is complete.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from tutelage.objectives import Objective
from tutelage.space import Choice, Domain, Float, Space

STARTUP_TRIALS = 10
SAMPLERS = {
    "tpe": "multi-objective tree-structured Parzen estimator (Ozaki et al., 2022)",
    "nsga2": "non-dominated sorting genetic algorithm (Deb et al., 2002)",
    "random": "independent uniform draws",
}


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One suggestion: its number in the study, the resolved config, the flat searched values, and its sizes where known."""

    number: int
    config: dict[str, Any]
    params: dict[str, Any]
    sizes: dict[str, float] = field(default_factory=dict)


class Sampler:
    """Proposes configs and learns from what became of them.

    `losses` told to it have one value an objective, lower is better, as `objectives.losses` gives them.
    """

    def __init__(self, space: Space, objectives: Sequence[Objective], kind: str, seed: int, path: Path, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                storage=storage,
                study_name=name,
                sampler=_sampler(kind, seed),
                directions=["minimize"] * len(objectives),
                load_if_exists=True,
            )
        self._open: dict[int, optuna.Trial] = {}

    def ask(self) -> Draw:
        """Return the next config to try."""
        trial = self._study.ask()
        config, params = self._space.resolve(lambda name, domain: _suggest(trial, name, domain))
        self._open[trial.number] = trial
        return Draw(number=trial.number, config=config, params=params)

    def tell_finished(self, number: int, losses: Sequence[float], violations: Mapping[str, float]) -> None:
        """Tell a trained student's losses, and by how much it misses each constraint (> 0 is a miss)."""
        assert all(map(math.isfinite, losses)), losses
        trial = self._open.pop(number)
        self._constrain(trial, violations)
        self._study.tell(trial, list(losses), state=TrialState.COMPLETE)

    def tell_infeasible(self, number: int, violations: Mapping[str, float]) -> None:
        """Tell that a student was refused before training, because its size misses constraints."""
        trial = self._open.pop(number)
        self._constrain(trial, violations)
        self._study.tell(trial, state=TrialState.PRUNED)

    def tell_stopped(self, number: int) -> None:
        """Tell that a student was stopped before its last epoch."""
        self._study.tell(self._open.pop(number), state=TrialState.PRUNED)

    def tell_failed(self, number: int) -> None:
        """Tell that nothing can be learnt from this suggestion: it raised, or it repeats an earlier one."""
        self._study.tell(self._open.pop(number), state=TrialState.FAIL)

    def close(self) -> None:
        """Tell every suggestion that is still open as failed, so that none is waited for."""
        for number in list(self._open):
            self.tell_failed(number)

    @staticmethod
    def _constrain(trial: optuna.Trial, violations: Mapping[str, float]) -> None:
        for name, violation in violations.items():
            trial.set_constraint(name, violation)


def _sampler(kind: str, seed: int) -> optuna.samplers.BaseSampler:
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if kind == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=16)
    assert kind == "tpe", kind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True, constant_liar=True, seed=seed
        )


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, list(domain.labels))
    if isinstance(domain, Float):
        return trial.suggest_float(name, domain.low, domain.high, log=domain.log, step=domain.step)
    return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step or 1)
