"""What to train next: suggestions that fit the constraints and repeat nothing. Pure: it knows neither Ray nor MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage import objectives as objectives_module
from tutelage.errors import TutelageError
from tutelage.objectives import Limits, Objective
from tutelage.record import TrialRecord
from tutelage.search.sampler import Draw, Sampler

MAX_REFUSALS = 100  # in a row; by then the space has nothing new, or nothing that fits


class Suggester:
    """Asks the sampler until a config is worth a worker, and tells it what became of each.

    `presize(config)` gives the sizes known before training (maybe none). A refused config costs no worker: one that
    misses a constraint is recorded as infeasible through `on_refused`, one that repeats an earlier one is dropped.
    """

    def __init__(
        self,
        sampler: Sampler,
        objectives: Sequence[Objective],
        constraints: Limits,
        presize: Callable[[dict[str, Any]], dict[str, float]],
        on_refused: Callable[[TrialRecord], None],
        num_trials: int | None,
    ) -> None:
        self._sampler, self._objectives, self._constraints = sampler, objectives, constraints
        self._presize, self._on_refused = presize, on_refused
        self._num_trials = num_trials
        self._given: set[str] = set()
        self._num_given = 0
        self.exhausted = False

    def next(self) -> Draw | None:
        """Return the next config to train; None when the sweep has had its trials, or nothing new is found."""
        if self._num_trials is not None and self._num_given >= self._num_trials:
            return None
        for _ in range(MAX_REFUSALS):
            draw = self._sized(self._sampler.ask())
            if draw is not None:
                self._num_given += 1
                return draw
        self.exhausted = True
        return None

    def _sized(self, draw: Draw) -> Draw | None:
        """Return the suggestion with the sizes that it will have; None if it is not worth training."""
        identity = json.dumps(draw.config, sort_keys=True)
        if identity in self._given:
            self._sampler.tell_failed(draw.number)
            return None
        self._given.add(identity)
        try:
            measures = self._presize(draw.config)
        except TutelageError as error:
            self._refuse(draw, {}, str(error), "failed")
            return None
        violations = {name: by for name, by in self._constraints.violations(measures).items() if by > 0}
        if violations:
            self._refuse(draw, measures, self._missed(measures, violations), "infeasible", violations)
            return None
        return replace(draw, sizes=measures)

    def _missed(self, measures: Mapping[str, float], violations: Mapping[str, float]) -> str:
        had = ", ".join(f"{name} {measures[name]:g}" for name in violations)
        return f"refused before training: {had}; asked for {self._constraints.describe()}"

    def _refuse(
        self,
        draw: Draw,
        measures: dict[str, float],
        reason: str,
        state: Any,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        if violations:
            self._sampler.tell_infeasible(draw.number, violations)
        else:
            self._sampler.tell_failed(draw.number)
        self._on_refused(
            TrialRecord(
                number=draw.number,
                trial_id=trial_id(draw.number),
                state=state,
                params=draw.params,
                config=draw.config,
                measures=measures,
                error=reason,
            )
        )

    def learn(self, record: TrialRecord) -> None:
        """Tell the sampler what became of a trained suggestion."""
        if record.state == "finished":
            losses = objectives_module.losses([record.measures], self._objectives)[0]
            self._sampler.tell_finished(record.number, losses.tolist(), self._constraints.violations(record.measures))
        elif record.state == "stopped":
            self._sampler.tell_stopped(record.number)
        else:
            self._sampler.tell_failed(record.number)


def trial_id(number: int) -> str:
    """Return the name of the trial that was suggested `number`-th, from 0."""
    return f"t{number:04d}"
