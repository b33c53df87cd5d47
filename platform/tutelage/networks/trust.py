"""Which code the files of a network may name: a model of one's own stands in them as `module:Name`, and building it runs it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage import plugins
from tutelage.errors import InputError


class _Everything(Collection[str]):
    """The collection that has every name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        raise TypeError("every name cannot be listed")

    def __len__(self) -> int:
        raise TypeError("every name cannot be counted")


EVERYTHING: Collection[str] = _Everything()  # for files that this process wrote, or whose code the user chose to run
PACKAGE_ONLY: Collection[str] = frozenset()


def check_code(source: Path, architecture: Mapping[str, Any], trusted: Collection[str]) -> None:
    """Raise `InputError` if an architecture names code that is neither the package's nor among the `trusted` `module:Name`s.

    Nothing is imported. `source` is the file that the message names.
    """
    methods = [one.get("method") for one in architecture.get("surgeries", ())]
    named = plugins.own_code([architecture["model"], methods])
    if unknown := sorted(name for name in named if name not in trusted):
        raise InputError(
            f"{source} names code of its own, {', '.join(unknown)}, which is neither the package's nor named by your spec; "
            "it was not run. If you trust who made the file, name that code in the spec, or give --trust."
        )
