"""The tables of `removal.py`: test accuracies, paired differences, and what the removal costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import machine, pair
from tutelage.files import content_address

Row = dict[str, float]
RATIOS, MODES = (2, 4, 8), {"distilled": True, "labels alone": False}
SCRATCH, PEER, UNPENALISED, RANDOM = "from scratch", "torch-pruning", "l2, no penalty", "random, no penalty"
SPR, CHOSEN = "SPR (group penalty, l2)", "the best of ours on validation"
CONTROLS = (PEER, SCRATCH, RANDOM)  # with which all of ours are compared
BEGIN, END = "<!-- tables of tests/benchmarks/removal.py -->", "<!-- end of the tables -->"
CELLS = [(ratio, mode) for mode in MODES for ratio in RATIOS]
Values = dict[int, float]  # by seed


def rows_path(options: Any) -> Path:
    """Return the file of the rows of all trainings with these options; it grows with `--seeds` and `--only`."""
    settings = {name: getattr(options, name) for name in ("dense", "recovery", "width")}
    address = content_address(kind="removal", overrides=[*options.overrides], **settings)
    path = Path(options.storage) / "benchmarks" / f"removal-{address}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Found:
    """The rows of several seeds, by student, ratio and mode."""

    def __init__(self, rows: Mapping[str, Row], names: Sequence[str], seeds: int) -> None:
        self.names, self._rows = names, rows
        seen = [pair.FIRST_SEED + seed for seed in range(seeds)]
        whole = [seed for seed in seen if all(f"{one}/{r}/{m}/{seed}" in rows for one in names for r, m in CELLS)]
        self.is_whole, self.seeds = bool(whole), whole or seen

    @property
    def ours(self) -> list[str]:
        """The students that tutelage makes smaller by a score."""
        return [name for name in self.names if name not in CONTROLS]

    def values(self, name: str, ratio: int, mode: str, measure: str = "test") -> Values:
        """Return a measure by seed; the best of ours is, at each seed, the one with the highest accuracy on validation."""
        if name == CHOSEN:
            return self._of_chosen(ratio, mode, measure)
        keys = {seed: f"{name}/{ratio}/{mode}/{seed}" for seed in self.seeds}
        return {seed: self._rows[key][measure] for seed, key in keys.items() if measure in self._rows.get(key, {})}

    def _of_chosen(self, ratio: int, mode: str, measure: str) -> Values:
        judged = {name: self.values(name, ratio, mode, "validation") for name in self.ours}
        whole = [seed for seed in self.seeds if all(seed in values for values in judged.values())]
        best = {seed: max(self.ours, key=lambda name: judged[name][seed]) for seed in whole if self.ours}
        return {seed: self.values(name, ratio, mode, measure)[seed] for seed, name in best.items()}

    def dense(self) -> dict[str, list[float]]:
        """Return the test accuracies of the whole students by their penalty."""
        found: dict[str, list[float]] = {}
        for key, row in sorted(self._rows.items()):
            name, seed = key.partition("/")[0], int(key.rpartition("/")[2])
            if name.startswith("dense") and seed in self.seeds:
                found.setdefault(name, []).append(row["test"])
        return found


def accuracies(found: Found) -> list[dict[str, Any]]:
    """Return test accuracy: a row for each student, a column for each ratio and mode."""
    return _table([*found.names, CHOSEN], lambda *cell: _spread(found.values(*cell)))


def differences(found: Found) -> list[dict[str, Any]]:
    """Return the differences of paired seeds in points, with 95 % intervals, of all of ours from each control."""
    pairs = [(SPR, UNPENALISED), *((name, control) for control in CONTROLS for name in [*found.ours, CHOSEN])]
    pairs += [(PEER, SCRATCH), (PEER, RANDOM)]
    present = {f"{a} less {b}": (a, b) for a, b in pairs if {a, b} <= {*found.names, CHOSEN}}

    def difference(name: str, ratio: int, mode: str) -> str:
        a, b = (found.values(one, ratio, mode) for one in present[name])
        shared = sorted(a.keys() & b.keys())
        return pair.gain([a[seed] for seed in shared], [b[seed] for seed in shared]) if shared else "–"

    return _with_values(_table(present, difference, "difference"))


def sizes(found: Found) -> list[dict[str, Any]]:
    """Return the mean MACs, and what scoring and removal take in epochs of the dense training."""
    rows = _with_values(_table(found.names, lambda name, ratio, mode: _macs(found.values(name, ratio, mode, "macs"))))
    for row in rows:
        row["removal, epochs"] = "–" if row["student"] == SCRATCH else _shares(found, row["student"])
    return rows


def _table(names: Iterable[str], cell: Callable[[str, int, str], str], first: str = "student") -> list[dict[str, Any]]:
    return [{first: name, **{f"{r}×, {mode}": cell(name, r, mode) for r, mode in CELLS}} for name in names]


def _with_values(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that hold a value; the first one if there is none."""
    return [row for row in rows if {*list(row.values())[1:]} != {"–"}] or rows[:1]


def _spread(values: Values) -> str:
    return pair.spread([*values.values()]) if values else "–"


def _macs(values: Values) -> str:
    return f"{statistics.fmean(values.values()):,.0f}" if values else "–"


def _shares(found: Found, name: str) -> str:
    removal, epoch = (
        [v for cell in CELLS for v in found.values(name, *cell, one).values()] for one in ("removal_s", "epoch_s")
    )
    return f"{max(a / b for a, b in zip(removal, epoch, strict=True)):.2f}" if removal else "–"


def show(title: str, rows: Mapping[str, Row], names: Sequence[str], options: Any) -> None:
    """Print the tables for people or, with `--json`, for machines; with `--page`, write them into that page as well."""
    found = Found(rows, names, options.seeds)
    counted = f"{len(found.seeds)} seeds" if found.is_whole else "no seed is complete: each cell has what is trained so far"
    tables = {
        f"Test accuracy; {title}; {counted} (mean ± sd)": accuracies(found),
        "Differences of paired seeds, points (95 % interval)": differences(found),
        "MACs, and the longest scoring and removal in dense epochs, by seconds of the processor": sizes(found),
    }
    dense = "; ".join(f"{name} {pair.spread(values)}" for name, values in found.dense().items())
    if options.json:
        document = {"version": 2, "seeds": found.seeds, "is_whole": found.is_whole, "dense": found.dense(), "tables": tables}
        print(json.dumps({**document, "rows": rows, "machine": machine.describe()}, indent=2))
        return
    text = "\n\n".join(f"{name}:\n\n{machine.markdown(table)}" for name, table in tables.items())
    text += f"\n\nWhole students, test accuracy: {dense}."
    print(text + "\n\n" + ", ".join(f"{key} {value}" for key, value in machine.describe().items()))
    if options.page:
        put(options.page, text)


def put(page: Path, text: str) -> None:
    """Replace what stands between the two comments of a page."""
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert end, f"{page} has no '{BEGIN}' followed by '{END}'"
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")
