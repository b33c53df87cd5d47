"""Write docs/spec.md, the reference of a spec's keys, from their definitions: `make docs`, or `python docs/spec_page.py`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tutelage.spec.reference import Setting, spec_settings
from tutelage.spec.spec import SEARCHABLE

PAGE = Path(__file__).with_name("spec.md")
HEAD = """# The keys of a spec

Every key with its values, its default and its meaning. `make docs` writes this page from the definitions in
`platform/tutelage/spec/`. `tutelage schema` prints the same for editors, `tutelage list FAMILY NAME` the options of a plugin.

* A *plugin* is a name, `module:Name`, or one of these with options: `{resnet: {blocks: 1, width: 64}}`.
* A *distribution* may stand for any value under `student`, `distillation` and `sparsity`: [search.md](search.md#ranges).
* `--set student.epochs=5` sets a key on the command line.
"""


def page() -> str:
    """Return the page: one table for the keys without a section, and one for each section."""
    found = groupby(sorted(spec_settings(), key=_section), key=_section)
    order = {_section(one): number for number, one in enumerate(spec_settings())}
    tables = {section: _table(list(rows)) for section, rows in found}
    return HEAD + "".join(f"\n{tables[section]}" for section in sorted(tables, key=lambda one: (one != "", order[one])))


def _section(setting: Setting) -> str:
    section, dot, _ = setting.name.partition(".")
    return section if dot or section == "guard" else ""


def _table(rows: list[Setting]) -> str:
    section = _section(rows[0])
    searchable = " It may hold distributions." if section in SEARCHABLE else ""
    head = f"## {section}\n\n{searchable.strip()}\n\n" if searchable else f"## {section}\n\n" if section else ""
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{one.name}` | {one.values} | {_code(one.default)} | {one.meaning} |" for one in rows]
    return head + "\n".join(lines) + "\n"


def _code(default: str) -> str:
    return default if default in ("required", "empty") else f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
