"""Write the Python API pages from the docstrings: `make docs`, or `python docs/api.py DIRECTORY`.

Documented are the public interface, what plugin authors import, and every plugin. A warning of pdoc, such as a name that does
not resolve, is an error.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc

from tutelage import plugins

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
    """Write the pages of `MODULES` and of every plugin into a directory."""
    names = [*MODULES, *plugin_modules()]
    for name in names:
        import_module(name)  # before warnings are errors: those of other packages' imports are not ours
    warnings.simplefilter("error")
    pdoc.render.configure(
        docformat="restructuredtext",
        footer_text="Tutelage",
        search=True,
        template_directory=Path(__file__).with_name("templates"),
    )
    pdoc.pdoc(*names, WITHOUT, output_directory=directory)


def plugin_modules() -> list[str]:
    """Return the modules of the plugins that pdoc does not find by itself, because their package has an `__all__`."""
    packages = {family: f"tutelage.{plugins.folder(family).replace('/', '.')}" for family in plugins.FAMILIES}
    return [
        f"{package}.{plugins.stem(family, name)}"
        for family, package in packages.items()
        for name in plugins.names(family)
        if hasattr(import_module(package), "__all__")
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
