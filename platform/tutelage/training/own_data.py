"""A data source of a user's own, read: what it returns is checked as the package's own sources check their files."""

from __future__ import annotations

from collections.abc import Callable

from tutelage.data import Examples, SplitName, checked
from tutelage.data._alike import check_numbers
from tutelage.errors import InputError
from tutelage.foreign import blamed
from tutelage.networks import forward


def read(name: str, split: SplitName, reads: Callable[[], Examples]) -> Examples:
    """Return the examples that the plugin `name` gives for a split; `InputError` for what it raises, or gives wrongly."""
    with forward.of_user(f"data plugin '{name}': reading the {split} split"):
        found = reads()
    if not isinstance(found, Examples):
        raise InputError(
            f"data plugin '{name}' gives a {type(found).__name__} for the {split} split, not tutelage.data.Examples."
        )
    try:
        with blamed(f"the {split} split: its examples cannot be used, which"):
            check_numbers(found, split)
            return checked(found, split)
    except InputError as error:
        raise InputError(f"data plugin '{name}': {error}") from error
