"""Samplers, which suggest the next student, as Optuna samplers. One file a sampler.

`build(config, seed)` returns an Optuna sampler for one suggestion. Every suggestion has a seed of its own, and Optuna's studies
are made again from the ledger, so a sampler keeps no state.

A plugin may also have `chooser(config, space, size_losses, seed, reference, worst)`, which returns a `Chooser`: it suggests by
the students' sizes, and the Optuna sampler is used until the chooser has a suggestion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

STARTUP_TRIALS = 10  # random suggestions before the first one that a model makes


class Chooser(Protocol):
    """Suggests students by their sizes, which are known before training, and learns from their final results.

    `known` are a student's even losses other than that of the primary measure, None if training decides them; `end` is that
    of the primary measure. `number` is a trial's number.
    """

    def started(self, number: int, params: Mapping[str, Any], known: NDArray[Any] | None) -> None:
        """Add a student that is trained now."""
        ...

    def add_finished(self, params: Mapping[str, Any], known: NDArray[Any] | None, end: float) -> None:
        """Add a finished student of another search."""
        ...

    def finished(self, number: int, end: float) -> None:
        """Add a student's final result."""
        ...

    def discarded(self, number: int) -> None:
        """Remove a student that did not finish."""
        ...

    def suggest(self, number: int) -> Mapping[str, Any] | None:
        """Return the searched values of the next student; None leaves the suggestion to the Optuna sampler."""
        ...
