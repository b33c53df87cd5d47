"""Which tests run in one process, where pytest runs in several: those that share an expensive fixture."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent


class SharedFixtures(LoadScopeScheduling):
    """Hands out tests one by one, but together those of a file with a module's fixture, and those of the storage of the run.

    Each process would make the fixture for itself. The mark `xdist_group` has no effect here: xdist 3.8 renames the tests
    that have it, and pytest 9.2 does not let it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0]) or nodeid


@cache
def group_of(file: str) -> str:
    """Return the name of the group to which all tests of a file belong; an empty string if they need not stay together."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if "small_sweep" in text or "small_spec" in text:
        return "small_sweep"  # its storage has a teacher and its knowledge
    return file if 'scope="module"' in text else ""
