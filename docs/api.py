"""Write the Python API pages from the docstrings: `make docs`, or `python docs/api.py DIRECTORY`.

Documented are the public interface and what plugin authors import. A warning of pdoc, such as a name that does not resolve,
is an error.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

MODULES = (
    "tutelage.api",
    "tutelage.errors",
    "tutelage.plugins",
    "tutelage.data",
    "tutelage.models",
    "tutelage.tasks",
    "tutelage.losses",
    "tutelage.networks.output",
    "tutelage.sparsity",
    "tutelage.measure",
    "tutelage.measures",
    "tutelage.policies",
    "tutelage.search.samplers",
    "tutelage.search.rules",
)
WITHOUT = r"!tutelage\.(\w+\.)+_.*"  # a family's helpers


def main(directory: Path) -> None:
    """Write the pages of `MODULES` into a directory."""
    for name in MODULES:
        import_module(name)  # before warnings are errors: those of other packages' imports are not ours
    warnings.simplefilter("error")
    pdoc.render.configure(docformat="restructuredtext", footer_text="Tutelage", search=True)
    pdoc.pdoc(*MODULES, WITHOUT, output_directory=directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
