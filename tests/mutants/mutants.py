"""One-line breakages of the package, each with the tests that must fail: one YAML file a room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "platform" / "tutelage"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One breakage: `old` becomes `new` in `file` (relative to the package). At least one of `tests` must fail then."""

    room: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file, and the beginnings of the old and the new text."""
        old, new = (text.strip().partition("\n")[0] for text in (self.old, self.new))
        return f"{self.file}: {old} → {new or '(nothing)'}"

    def applied(self, text: str) -> str:
        """Return the file's text with the breakage; `ValueError` if `old` does not occur exactly once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} occurs {text.count(self.old)} times. Write the line as it is now.")
        return text.replace(self.old, self.new)


def rooms() -> list[str]:
    """Return the names of the lists."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def load(only: Collection[str] = ()) -> list[Mutant]:
    """Return the mutants of the rooms `only`, by default of all."""
    return [_mutant(room, one) for room in only or rooms() for one in yaml.safe_load((HERE / f"{room}.yaml").read_text())]


def _mutant(room: str, one: dict[str, str | list[str]]) -> Mutant:
    tests = one["tests"]
    return Mutant(
        room=room, file=str(one["file"]), old=str(one["old"]), new=str(one["new"]),
        tests=(tests,) if isinstance(tests, str) else tuple(tests),
    )  # fmt: skip
