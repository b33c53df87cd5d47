"""Tutelage finds the best small networks that a big one can teach.

    from tutelage import Limits, front, load_spec, select, sweep

    home = sweep(load_spec("search_spaces/digits.yaml"))
    front(home)  # a pandas DataFrame, one row a student
    select(home, policy="best-quality", limits=Limits(max={"size_bytes": 20e3})).document

The command line does the same: `tutelage --help`.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.api import Limits, Spec, TutelageError, explore, find_sweep, front, load_spec, select, sweep, trials

__all__ = ["Limits", "Spec", "TutelageError", "explore", "find_sweep", "front", "load_spec", "select", "sweep", "trials"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import tutelage` loads neither torch nor Ray."""
    if name in __all__:
        logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)  # in notebooks it asks for a package that is not needed
        return getattr(import_module("tutelage.api"), name)
    raise AttributeError(f"module 'tutelage' has no attribute '{name}'")


class _Package(ModuleType):
    """The package itself: Python may not put the subpackage `sweep` in the place of the public function `sweep`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in __all__:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
