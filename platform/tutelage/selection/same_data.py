"""The check that a sweep's data have not changed since its start; its knowledge and measures hold for these only."""

from __future__ import annotations

from tutelage.errors import InputError
from tutelage.records.sweep_dir import SweepDir
from tutelage.training.context import TrainingContext


def check_data(home: SweepDir, context: TrainingContext) -> None:
    """Raise `InputError` if the training or validation examples of `context` are not those of the sweep, by fingerprint."""
    known = home.facts().get("fingerprint")
    if known not in (None, context.fingerprint):
        raise InputError(
            f"the data of sweep '{home.name}' have changed: fingerprint {context.fingerprint[:16]}, and {known[:16]} when it "
            "began. Its students would not be comparable, and its teacher's knowledge belongs to other rows. Put the data "
            "back, or begin a sweep of another name."
        )
