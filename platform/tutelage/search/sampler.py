"""A search space and its objectives in Optuna. Only this file and the samplers import Optuna.

Optuna's studies are kept in memory: one of final results, and one for every rung, with the results of students at that rung.
All are rebuilt from a sweep's ledger, and each suggestion has its own seed, so the same ledger gives the same suggestion in any
driver. A journal file beside the ledger mirrors the study of final results for `optuna-dashboard`.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.foreign import blamed
from tutelage.plugins import Reference
from tutelage.records.trial import Suggestion
from tutelage.search.samplers import STARTUP_TRIALS
from tutelage.spec.domains import Choice, Domain, Float, nearest_value
from tutelage.spec.space import Space

logger = logging.getLogger(__name__)
NOTES = (
    "NSGAIISampler:generation",
    "NSGAIIISampler:generation",
)  # attributes that a genetic algorithm writes to its suggestions
END = math.inf  # the rung of students with all their epochs


class Sampler:
    """Suggests configs, and learns from their results at rungs and at the end.

    Losses have one value an objective, lower is better. Suggestions are made from the highest rung that enough students have
    reached (Falkner et al., 2018): at least `STARTUP_TRIALS`, and at least twice the number of distributions in the space.
    """

    def __init__(
        self,
        space: Space,
        num_objectives: int,
        kind: Reference,
        seed: int,
        rungs: Sequence[int] = (),
        journal: Path | None = None,
    ) -> None:
        check(kind)
        self._name, self._plugin, self._config = plugins.configure("samplers", kind)
        self._space, self._seed = space, seed
        self._levels = {rung: _Level(num_objectives) for rung in (*sorted(rungs), END)}
        self._enough = max(STARTUP_TRIALS, 2 * sum(1 for _ in space.domains()))
        self._mirror = _Mirror(journal, num_objectives) if journal else None
        self._next = 0

    @property
    def rungs(self) -> frozenset[int]:
        """The epochs, before the last one, after which students are observed."""
        return frozenset(int(rung) for rung in self._levels if rung != END)

    @property
    def next_number(self) -> int:
        """The number that the next suggestion will have."""
        return self._next

    def ask(self, params: Mapping[str, Any] | None = None, origin: str = "sampler") -> Suggestion:
        """Return the next config to try; `params` fixes searched values by name, and the sampler chooses the others."""
        level = self._guide()
        with _quiet():
            seed = int(np.random.SeedSequence([self._seed, self._next]).generate_state(1)[0])
            sampler = _built(self._name, self._plugin, self._config, seed)
        with self._blamed():
            trial = level.ask(self._next, sampler, params or {})
            config, drawn = self._space.resolve(lambda name, domain: _suggest(trial, name, domain))
        notes = {key: value for key, value in level.notes(self._next).items() if key in NOTES}
        suggestion = Suggestion(number=self._next, config=config, params=drawn, origin=origin, notes=notes)
        self._begin(suggestion, beside=level)
        return suggestion

    def _blamed(self) -> AbstractContextManager[None]:
        """Return a block in which a sampler of the user's own is called, which may raise."""
        return blamed(f"sampler '{self._name}'") if ":" in self._name else nullcontext()

    def resume(self, suggestion: Suggestion) -> None:
        """Add a suggestion that an earlier driver of this search received."""
        self._begin(suggestion, beside=None)

    def add_finished(self, params: Mapping[str, Any], losses: Sequence[float]) -> None:
        """Add a finished student of another search that lies in this search space."""
        end = self._levels[END]
        number = end.next_external
        end.add(number, self._running(params, {}))
        end.tell(number, TrialState.COMPLETE, losses, {})

    def _begin(self, suggestion: Suggestion, beside: _Level | None) -> None:
        running = self._running(suggestion.params, suggestion.notes)
        for level in self._levels.values():
            if level is not beside:
                level.add(suggestion.number, running)
        if self._mirror:
            self._mirror.add(suggestion.number, running)
        self._next = max(self._next, suggestion.number + 1)

    def _running(self, params: Mapping[str, Any], notes: Mapping[str, Any]) -> FrozenTrial:
        return optuna.trial.create_trial(
            state=TrialState.RUNNING, params=dict(params), system_attrs=dict(notes),
            distributions={name: _distribution(domain) for name, domain in self._space.domains() if name in params},
        )  # fmt: skip

    def observe(self, number: int, rung: int, losses: Sequence[float]) -> None:
        """Add a student's losses at a rung; a repeated call changes nothing."""
        level = self._levels.get(rung)
        if level is not None and level.is_open(number):
            with self._blamed():
                level.tell(number, TrialState.COMPLETE, losses, {})

    def tell_finished(self, number: int, losses: Sequence[float], violations: Mapping[str, float]) -> None:
        """Add a finished student's losses, and by how much it violates each constraint (> 0: violated)."""
        assert all(map(math.isfinite, losses)), losses
        self._tell_end(number, TrialState.COMPLETE, losses, violations)

    def tell_stopped(self, number: int) -> None:
        """Mark a student as stopped before its last epoch; its results at rungs remain."""
        self._tell_end(number, TrialState.PRUNED, None, {})

    def tell_infeasible(self, number: int, violations: Mapping[str, float]) -> None:
        """Mark a student as rejected before training, because its size violates constraints."""
        for level in self._levels.values():
            with self._blamed():
                level.tell(number, TrialState.PRUNED, None, violations)
        if self._mirror:
            self._mirror.tell(number, TrialState.PRUNED, None, violations)

    def tell_failed(self, number: int) -> None:
        """Mark a suggestion as failed: it raised an error, or it repeats an earlier one. Nothing is learnt from it."""
        self._tell_end(number, TrialState.FAIL, None, {})

    def _tell_end(
        self, number: int, state: TrialState, losses: Sequence[float] | None, violations: Mapping[str, float]
    ) -> None:
        for rung, level in self._levels.items():
            with self._blamed():
                if rung == END:
                    level.tell(number, state, losses, violations)
                elif level.is_open(number):  # it did not reach this rung
                    level.tell(number, TrialState.FAIL, None, {})
        if self._mirror:
            self._mirror.tell(number, state, losses, violations)

    def _guide(self) -> _Level:
        """Return the study of the highest rung with enough students; if no rung has enough, the study with the most."""
        levels = list(self._levels.values())
        for level in reversed(levels):
            if level.num_complete >= self._enough:
                return level
        return max(reversed(levels), key=lambda level: level.num_complete)


class _Level:
    """One of the studies, in memory: the results of students at one rung, or at the end, by the numbers of this search."""

    def __init__(self, num_objectives: int, storage: Any = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [StudyDirection.MINIMIZE] * num_objectives
        self.study = optuna.create_study(directions=directions, storage=storage, study_name="search", load_if_exists=True)
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()
        self.num_complete = 0

    def ask(self, number: int, sampler: optuna.samplers.BaseSampler, fixed: Mapping[str, Any]) -> optuna.Trial:
        with _quiet():
            self.study.sampler = optuna.samplers.PartialFixedSampler(dict(fixed), sampler) if fixed else sampler
            trial = self.study.ask()
        self._numbers[number] = trial.number
        self._open.add(number)
        return trial

    def notes(self, number: int) -> dict[str, Any]:
        attributes: dict[str, Any] = self._trial(number).system_attrs
        return attributes

    def add(self, number: int, trial: FrozenTrial) -> None:
        self._numbers[number] = len(self._numbers)
        self._open.add(number)
        self.study.add_trial(trial)

    def is_open(self, number: int) -> bool:
        return number in self._open

    def tell(self, number: int, state: TrialState, losses: Sequence[float] | None, violations: Mapping[str, float]) -> None:
        self._open.remove(number)
        if violations:
            trial = optuna.Trial(self.study, self._trial(number)._trial_id)
            for name, violation in violations.items():
                trial.set_constraint(name, violation)
        self.study.tell(self._numbers[number], None if losses is None else list(losses), state=state)
        self.num_complete += state == TrialState.COMPLETE

    @property
    def next_external(self) -> int:
        """A number that no suggestion of this search has: below zero."""
        return -1 - sum(number < 0 for number in self._numbers)

    def _trial(self, number: int) -> FrozenTrial:
        storage, study_id = self.study._storage, self.study._study_id  # a public call would copy every trial
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study_id, self._numbers[number]))


class _Mirror(_Level):
    """The study of final results in a journal file, for Optuna's own tools; every driver writes it anew.

    The search does not read it, so a full disk ends the mirror and not the search.
    """

    def __init__(self, path: Path, num_objectives: int) -> None:
        self._is_lost = False
        path.unlink(missing_ok=True)
        super().__init__(num_objectives, JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))))

    def add(self, number: int, trial: FrozenTrial) -> None:
        with self._losable():
            super().add(number, trial)

    def tell(self, number: int, state: TrialState, losses: Sequence[float] | None, violations: Mapping[str, float]) -> None:
        with self._losable():
            if not self._is_lost:
                super().tell(number, state, losses, violations)

    @contextmanager
    def _losable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._is_lost = True
            logger.warning(
                "Optuna's journal of the search ends here: %s. The search does not need it.", error.strerror or error
            )


def check(reference: Reference) -> None:
    """Raise `InputError` for a sampler that does not exist, has a wrong option, or needs a library that is not installed."""
    name, plugin, config = plugins.configure("samplers", reference)
    with _quiet():
        _built(name, plugin, config, 0)


def _built(name: str, plugin: Any, config: Any, seed: int) -> BaseSampler:
    """Return the Optuna sampler of a plugin; `InputError` if one of the user's own gives none."""
    if ":" not in name:
        return plugin.build(config, seed)  # type: ignore[no-any-return]
    with blamed(f"sampler '{name}': build"):
        found = plugin.build(config, seed)
    if not isinstance(found, BaseSampler):
        raise InputError(f"sampler '{name}': build gives a {type(found).__name__}, not an optuna.samplers.BaseSampler.")
    return found


def try_out(space: Space, num_objectives: int, reference: Reference, seed: int) -> None:
    """Raise `InputError` for a sampler of the user's own that fails in a short search of invented results."""
    tried, generator = Sampler(space, num_objectives, reference, seed), np.random.default_rng(seed)
    for _ in range(STARTUP_TRIALS + 2):
        suggestion = tried.ask()
        tried.tell_finished(suggestion.number, generator.random(num_objectives).tolist(), {})


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's warnings about experimental arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    """Return Optuna's suggestion; on a grid it is the grid's own number, also in Optuna's record of the trial."""
    distribution: Any = _distribution(domain)
    with _quiet():
        suggested = trial._suggest(name, distribution)
    if not distribution._contains(distribution.to_internal_repr(suggested)):
        raise InputError(f"the sampler suggests {suggested!r} for {name}, which is not of its range, {distribution}.")
    if isinstance(domain, Choice) or domain.step is None:
        return suggested
    value = nearest_value(domain, suggested)
    if value != suggested:  # Optuna adds steps in binary: 0.6000000000000001
        trial.storage.set_trial_param(trial._trial_id, name, distribution.to_internal_repr(value), distribution)
    return value


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(list(domain.labels))
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step or 1)
