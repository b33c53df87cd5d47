"""A contest of searches on one ground: the simulated workers, what is measured of a run, and how runs are compared.

A run is one JSON line (`row_of`), so that runs of several programs can be compared together (`summary`, `picture`). A student
counts only once it has had all its epochs, and by its true error, not by the one that the search has seen.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.stats import wilcoxon

from tests.benchmarks.grounds import Ground, Params, Student
from tutelage import intervals, pareto
from tutelage.search.gaussian_process import Array

STEPS = 100  # of a curve, over the budget
GOAL = 0.95  # of the best known hypervolume
LISTS_STOPPED = ("ray-asha", "syne-moasha")  # searches whose results have a stopped student beside a finished one, unmarked


class Suggests(Protocol):
    """What is tried next. It is told every student's end: `error` is the last one seen, after `epoch` epochs."""

    def ask(self, number: int) -> Params | None: ...
    def seen(self, number: int, student: Student, epoch: int) -> None: ...
    def tell(self, number: int, known: Array, error: float, epoch: int, *, stopped: bool) -> None: ...


class Stops(Protocol):
    """What goes on. It is asked after every epoch but the last, and told of every student that had all its epochs.

    If it is `pausing`, what does not go on may do so later: `promoted` says who, and `is_last` that there are no new ones.
    """

    pausing: bool

    def started(self, number: int, params: Params, student: Student) -> None: ...
    def promoted(self, *, is_last: bool) -> int | None: ...
    def goes_on(self, number: int, known: Array, error: float, epoch: int) -> bool: ...
    def finished(self, number: int, known: Array, errors: Array) -> None: ...


class Never:
    """No early stopping."""

    pausing = False

    def started(self, number: int, params: Params, student: Student) -> None:
        """Remember nothing."""

    def promoted(self, *, is_last: bool) -> int | None:
        return None

    def goes_on(self, number: int, known: Array, error: float, epoch: int) -> bool:
        return True

    def finished(self, number: int, known: Array, errors: Array) -> None:
        """Learn nothing."""


@dataclass
class Run:
    """Students that had all their epochs, with the epochs spent by then; those that were stopped, with their own epochs."""

    finished: list[tuple[int, Student]] = field(default_factory=list)
    stopped: list[tuple[int, Student]] = field(default_factory=list)
    epochs: int = 0
    elapsed_s: float = 0.0


def compete(ground: Ground, suggests: Suggests, stops: Stops, *, budget: int, workers: int, seed: int) -> Run:
    """Let a search train students on `workers` simulated workers until `budget` epochs are spent or it has no more to try.

    The clock knows the epochs' seconds alone: suggestions and starts are free. A config met twice is trained the same.
    """
    run, number = Run(), 0
    clock: list[tuple[float, int]] = []
    running: dict[int, tuple[Student, int]] = {}
    paused: dict[int, tuple[Student, int]] = {}

    def begin() -> None:
        nonlocal number
        again = stops.promoted(is_last=False)
        params = None if again is not None else suggests.ask(number)
        again = stops.promoted(is_last=True) if again is None and params is None else again
        if again is not None:
            running[again] = paused.pop(again)
            heapq.heappush(clock, (run.elapsed_s + running[again][0].epoch_s, again))
            return
        if params is None:
            return
        student = ground.student(params, seed)
        stops.started(number, params, student)
        running[number] = (student, 0)
        heapq.heappush(clock, (run.elapsed_s + student.epoch_s, number))
        number += 1

    for _ in range(workers):
        begin()
    while clock and run.epochs < budget:
        run.elapsed_s, one = heapq.heappop(clock)
        student, epoch = running[one][0], running[one][1] + 1
        run.epochs += 1
        error = float(student.errors[epoch - 1])
        is_last = epoch == ground.epochs
        suggests.seen(one, student, epoch)
        if not is_last and stops.goes_on(one, student.known, error, epoch):
            running[one] = (student, epoch)
            heapq.heappush(clock, (run.elapsed_s + student.epoch_s, one))
            continue
        del running[one]
        if is_last:
            stops.finished(one, student.known, student.errors)
            run.finished.append((run.epochs, student))
        elif stops.pausing:
            paused[one] = (student, epoch)
            begin()
            continue
        else:
            run.stopped.append((epoch, student))
        suggests.tell(one, student.known, error, epoch, stopped=not is_last)
        begin()
    run.stopped += [(epoch, student) for student, epoch in paused.values()]
    return run


def row_of(ground: Ground, search: str, run: Run, *, budget: int, workers: int, seed: int) -> dict[str, Any]:
    """Return what is compared of a run; `volume` has the share of the best known one after each hundredth of the budget."""
    grid = [budget * step // STEPS for step in range(1, STEPS + 1)]
    found, students, volumes = 0.0, list[Student](), list[tuple[int, float]]()
    for spent, student in run.finished:
        students.append(student)
        found = ground.volume(students)
        volumes.append((spent, found))
    reached = next((spent for spent, volume in volumes if volume >= GOAL), None)
    return {
        "ground": ground.name, "search": search, "seed": seed, "workers": workers, "budget": budget,
        "volume": [round(max((v for spent, v in volumes if spent <= epochs), default=0.0), 5) for epochs in grid],
        "epochs_to_95": reached, "epochs": run.epochs, "elapsed_s": run.elapsed_s,
        "finished": len(run.finished), "stopped": len(run.stopped), "front": ground.front_share(students),
        **_listed(run),
    }  # fmt: skip


def _listed(run: Run) -> dict[str, int]:
    """Return the size of the front over every student's last report, and how many of its members were stopped."""
    rows = [[*s.known, s.errors[-1]] for _, s in run.finished] + [[*s.known, s.errors[epoch - 1]] for epoch, s in run.stopped]
    if not rows:
        return {"listed_front": 0, "listed_stopped": 0}
    mask = pareto.non_dominated_mask(np.array(rows))
    return {"listed_front": int(mask.sum()), "listed_stopped": int(mask[len(run.finished) :].sum())}


def _by_search(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        found.setdefault(row["search"], []).append(row)
    return found


def summary(rows: Sequence[Mapping[str, Any]], against: str) -> list[dict[str, Any]]:
    """Return a line a search for one ground: means ± standard deviations over seeds, and paired differences from `against`.

    Differences are of the final volume in points, with the 95 % interval of Student's t and Wilcoxon's two-sided p. A run that
    never comes to 95 % of the best known volume counts as one that would just after the budget: a lower bound.
    """
    searches = _by_search(rows)
    base = {row["seed"]: row for row in searches.get(against, [])}
    lines = []
    for name, runs in searches.items():
        volumes = np.array([row["volume"] for row in runs])
        to_goal = [row["epochs_to_95"] or row["budget"] for row in runs]
        reached = sum(row["epochs_to_95"] is not None for row in runs)
        fronts = [row["front"] for row in runs if row["front"] is not None]
        lines.append({
            "search": name, "runs": len(runs),
            **{f"volume at {share} %": _spread(volumes[:, share * STEPS // 100 - 1]) for share in (10, 25, 50, 100)},
            "epochs to 95 %": f"{'' if reached == len(runs) else '≥ '}{np.mean(to_goal):.0f} ({reached} of {len(runs)})",
            f"share of the epochs to {against}'s end": "" if name == against else _catching_up(runs, base),
            "front": _spread(fronts) if fronts else "-",
            "finished": f"{np.mean([row['finished'] for row in runs]):.0f}",
            "stopped": f"{np.mean([row['stopped'] for row in runs]):.0f}",
            "stopped ones in its list's front": _listed_share(runs) if name in LISTS_STOPPED else "",
            f"volume − {against}": "" if name == against else _difference(runs, base),
        })  # fmt: skip
    return lines


def _spread(values: Sequence[float] | Array) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else f"{np.mean(values):.3f}"


def _catching_up(runs: Sequence[Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]) -> str:
    """Return after what share of the epochs a search has the volume that `base` ends with, seed by seed; never counts as 1."""
    shares = []
    for row in runs:
        if row["seed"] in base:
            there = np.array(row["volume"]) >= base[row["seed"]]["volume"][-1]
            shares.append((int(there.argmax()) + 1) / STEPS if there.any() else 1.0)
    never = sum(share == 1.0 for share in shares)
    return f"{np.mean(shares):.2f}" + (f" ({never} of {len(shares)} not before)" if never else "") if shares else "-"


def _listed_share(runs: Sequence[Mapping[str, Any]]) -> str:
    return f"{sum(row['listed_stopped'] for row in runs) / max(1, sum(row['listed_front'] for row in runs)):.0%}"


def _difference(runs: Sequence[Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]) -> str:
    pairs = [(row["volume"][-1], base[row["seed"]]["volume"][-1]) for row in runs if row["seed"] in base]
    differences = [100 * (one - other) for one, other in pairs]
    if len(differences) < 2:
        return "-"
    low, high = intervals.mean_interval(differences)
    p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
    return f"{np.mean(differences):+.1f} ({low:+.1f} to {high:+.1f}), p {p:.2g}"


def picture(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Suggestion volume against epochs, a panel a ground, the mean of each search's seeds with its 95 % interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    grounds = list(dict.fromkeys(row["ground"] for row in rows))
    searches = list(dict.fromkeys(row["search"] for row in rows))
    across = min(3, len(grounds))
    down = -(-len(grounds) // across)
    figure, axes = plt.subplots(down, across, figsize=(5.2 * across, 3.9 * down), squeeze=False, layout="constrained")
    for axis, ground in zip(axes.flat, grounds, strict=False):
        for name, runs in _by_search(row for row in rows if row["ground"] == ground).items():
            volumes = np.array([row["volume"] for row in runs])
            epochs = runs[0]["budget"] * np.arange(1, STEPS + 1) / STEPS
            mean, colour = volumes.mean(axis=0), f"C{searches.index(name)}"
            axis.plot(epochs, mean, color=colour, label=name)
            if len(runs) > 1:
                bounds = np.array([intervals.mean_interval(column.tolist()) for column in volumes.T])
                axis.fill_between(epochs, *bounds.T, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=ground, xlabel="epochs trained", ylabel="share of the best known hypervolume")
    for axis in list(axes.flat)[len(grounds) :]:
        axis.set_visible(False)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=130)
    plt.close(figure)
