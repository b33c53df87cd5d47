"""The check that a sweep's data have not changed since its start."""

from __future__ import annotations

from tutelage.errors import InputError
from tutelage.records.sweep_dir import SweepDir
from tutelage.training.context import TrainingContext


def check_data(home: SweepDir, context: TrainingContext) -> None:
    """Raise `InputError` if the training or validation examples of `context` are not those of the sweep, by fingerprint."""
    recorded = home.facts().get("fingerprint")
    if recorded not in (None, context.fingerprint):
        raise InputError(
            f"the data of sweep '{home.name}' have changed: their fingerprint is {context.fingerprint[:16]}, and was "
            f"{recorded[:16]} at the start. The students would not be comparable. Restore the data, or start a sweep with "
            "another name."
        )
