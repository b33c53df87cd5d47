"""Digits whose readers wait a second, not a minute, for a storage that is full: `tests.impatient:Digits`, also in workers."""

from __future__ import annotations

from typing import Any

from tutelage import storage
from tutelage.data import Examples, SplitName, digits


class Digits:
    """scikit-learn's digits."""

    SPACE: dict[str, Any] = {}
    Config = digits.Config

    @staticmethod
    def read(config: digits.Config, seed: int, split: SplitName) -> Examples:
        """Return one split, and shorten the patience of the process that reads it."""
        storage.PATIENCE_S = 1.0
        return digits.read(config, seed, split)
