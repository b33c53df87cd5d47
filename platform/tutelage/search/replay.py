"""A recorded table and a fake clock in the place of a cluster: rules of early stopping tried in milliseconds.

Every sweep without early stopping is such a table: its ledger holds each student's accuracy after every epoch.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tutelage import objectives as objectives_module
from tutelage import pareto
from tutelage.errors import InputError
from tutelage.objectives import Objective
from tutelage.record import TrialRecord
from tutelage.search.rungs import Array, Rule
from tutelage.search.stopping import LEARNED

ERROR = "error_"  # and the epoch: a column of a table's file


@dataclass(frozen=True)
class Table:
    """What was recorded of n students: losses known before training `[n, known]`, error after each epoch `[n, epochs]`, and
    the seconds of an epoch `[n]`."""

    known: Array
    errors: Array
    epoch_s: Array
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.errors)

    def write(self, path: Path) -> None:
        """Keep the table as Parquet, in single precision."""
        columns = {name: self.known[:, k] for k, name in enumerate(self.names)} | {"epoch_s": self.epoch_s}
        columns |= {f"{ERROR}{epoch + 1}": column for epoch, column in enumerate(self.errors.T)}
        pd.DataFrame(columns).astype(np.float32).to_parquet(path, index=False)

    @property
    def ends(self) -> Array:
        """Each student's losses with all its epochs, `[n, known + 1]`: what a front is drawn over."""
        return np.column_stack([self.known, self.errors[:, -1]])


def read(path: Path) -> Table:
    """Return the table that `Table.write` kept."""
    frame = pd.read_parquet(path).astype(np.float64)
    columns = [str(name) for name in frame]
    errors = [name for name in columns if name.startswith(ERROR)]
    names = tuple(name for name in columns if name not in {*errors, "epoch_s"})
    return Table(
        known=frame[list(names)].to_numpy(), errors=frame[errors].to_numpy(), epoch_s=frame["epoch_s"].to_numpy(), names=names
    )


def recorded(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> Table:
    """Return the table of a sweep's finished students with as many epochs as the longest; `InputError` if there is none."""
    known = [objective for objective in objectives if objective.name != LEARNED]
    finished = [record for record in records if record.state == "finished" and record.curve]
    longest = max((len(record.curve) for record in finished), default=0)
    whole = [record for record in finished if len(record.curve) == longest]
    if not whole:
        raise InputError("no student of the sweep has finished: there is nothing to replay.")
    return Table(
        known=objectives_module.losses([record.measures for record in whole], known),
        errors=np.array([[1 - row[LEARNED] for row in record.curve] for record in whole]),
        epoch_s=np.array([record.step_s / longest for record in whole]),
        names=tuple(objective.name for objective in known),
    )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The fake cluster: workers, the seconds until one has started a trial, and the share of rungs at which a trial is lost."""

    workers: int = 2
    start_s: float = 0.0
    loss_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a search had: which students finished, in that order; epochs trained; seconds; the workers' busy share."""

    finished: tuple[int, ...]
    epochs: int
    elapsed_s: float
    busy_share: float


def replay(
    table: Table, rule: Rule | None, rungs: Sequence[int], order: Sequence[int], cluster: Cluster, seed: int = 0
) -> Replayed:
    """Return what becomes of a search that tries the table's students in `order` and stops them by `rule`; None stops none.

    A trial that is lost starts again, as one does that has no checkpoint; its epochs are counted.
    """
    generator, last = np.random.default_rng(seed), table.errors.shape[1]
    halts = [epoch for epoch in sorted(rungs) if epoch < last] + [last]
    waiting, running = iter(order), list[tuple[float, int, int]]()
    finished, busy_s, epochs, now_s = list[int](), 0.0, 0, 0.0

    def train(number: int, halt: int, begin_s: float) -> None:
        nonlocal busy_s, epochs
        more = halts[halt] - (halts[halt - 1] if halt else 0)
        epochs += more
        busy_s += more * table.epoch_s[number]
        heapq.heappush(running, (begin_s + more * table.epoch_s[number], number, halt))

    def take_next() -> None:
        number = next(waiting, None)
        if number is not None:
            train(number, 0, now_s + cluster.start_s)

    for _ in range(cluster.workers):
        take_next()
    while running:
        now_s, number, halt = heapq.heappop(running)
        known, errors = table.known[number], table.errors[number]
        if generator.random() < cluster.loss_share:
            train(number, 0, now_s + cluster.start_s)
        elif halts[halt] == last:
            finished.append(number)
            if rule:
                rule.finished(known, {epoch: errors[epoch - 1] for epoch in halts[:-1]}, errors[-1])
            take_next()
        elif rule and rule.stops(halts[halt], known, errors[halts[halt] - 1]):
            take_next()
        else:
            train(number, halt + 1, now_s)
    return Replayed(
        finished=tuple(finished), epochs=epochs, elapsed_s=now_s,
        busy_share=busy_s / (cluster.workers * now_s) if now_s else 0.0,
    )  # fmt: skip


def judged(table: Table, replayed: Replayed) -> dict[str, Any]:
    """Return the shares of all epochs that were trained, of the hypervolume and of the true front that were reached.

    The hypervolume is over the logarithms of sizes and of the error, which is raised by a thousandth, up to the worst student.
    """
    ends = np.log10(np.column_stack([table.known, table.errors[:, -1] + 1e-3]))
    worst = ends.max(axis=0) + 1e-6
    front = np.flatnonzero(pareto.non_dominated_mask(table.ends))
    reached = list(replayed.finished)
    return {
        "epochs": replayed.epochs / table.errors.size,
        "hypervolume": pareto.hypervolume(ends[reached], worst) / pareto.hypervolume(ends, worst),
        "front": float(np.isin(front, reached).mean()),
        "finished": len(reached),
    }
