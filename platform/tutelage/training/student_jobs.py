"""Students trained on Ray Train: one as a trial of a search, or several outside a search."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import ray
import torch

from tutelage import placement
from tutelage.errors import WorkFailed
from tutelage.files import sha256_of
from tutelage.networks import checkpoint, runtime
from tutelage.networks.process_state import preserved
from tutelage.networks.weights import load
from tutelage.placement import Demand
from tutelage.records.trial import Candidate, candidate_ids, representative
from tutelage.sparsity import Point
from tutelage.spec.sections import TrialConfig
from tutelage.storage import Storage, until_written
from tutelage.training import int8, latency, loop, packing, student, student_measures
from tutelage.training.context import TrainingContext
from tutelage.training.ray_train import HERE, Workers, cause_of, fit
from tutelage.training.trial_workers import TrialWorkers

logger = logging.getLogger(__name__)


class StudentTrial:
    """The training of one student in a search. A step is an epoch; the last step writes the weights and the measures.

    The trained network is written to `students` under `trial_id`, several candidates as `candidate_ids` names them. With
    `workers.workers` = 0, every epoch runs in this process; otherwise in workers of the trial, which `close` ends. Changes
    that the student's code makes to the process's global state are undone.
    """

    @preserved()
    def __init__(
        self, config: dict[str, Any], context: TrainingContext, seed: int, students: Storage, trial_id: str, workers: Workers,
        with_latency: bool = False,
    ) -> None:  # fmt: skip
        self.config, self.context = TrialConfig.model_validate(config), context
        self.students, self.trial_id, self.workers, self.with_latency = students, trial_id, workers, with_latency
        model = student.build(self.config, context, seed).to(_trial_device(workers))
        self.training = loop.Training(model, student.plan(self.config, context, seed))
        self.curve: list[dict[str, float]] = []
        self._group: TrialWorkers | None = None

    @preserved()
    def step(self) -> dict[str, Any]:
        """Run the next epoch; return its row with `done` and, after the last epoch, the final `measures`.

        With several candidates, the measures are those of their `representative`, and `candidates` has the fields of all
        `Candidate`s.
        """
        row = self._epoch()
        self.curve.append(row)
        is_done = row["epoch"] >= self.training.plan.recipe.epochs
        if not is_done:
            return {**row, "done": False}
        self._take_final_state()
        return {**row, "done": True, **self._finish(), "curve": self.curve}

    def _epoch(self) -> dict[str, float]:
        if self.workers.workers == 0:
            return fit(self.training.epoch, self.workers)
        self._group = self._group or TrialWorkers(self.training, self.workers)
        row: dict[str, float] = self._group.ask("epoch")
        return row

    def _take_final_state(self) -> None:
        if self._group:
            self.training.load_final_state(packing.from_bytes(self._group.ask("final_state")), load)
            self.close()

    def close(self) -> None:
        """End the trial's workers, if it has any."""
        if self._group:
            self._group.close()
            self._group = None

    def _finish(self) -> dict[str, Any]:
        points = self.training.finish()
        named = self._named(points)
        found = [self._candidate(point, name, is_int8=is_int8) for point, name, is_int8 in named]
        if self.with_latency:
            found = self._timed(found, named)
        several = {"candidates": [asdict(one) for one in found]} if len(found) > 1 or found[0].rung is not None else {}
        return {"measures": representative(found).measures, **several}

    def _named(self, points: Sequence[Point]) -> list[tuple[Point, str, bool]]:
        """Return each candidate's network and name, and whether it is the int8 file, which follows its float network."""
        forms = (False, True) if self.config.sparsity.quantise else (False,)
        every = [(point, is_int8) for point in points for is_int8 in forms]
        names = candidate_ids(self.trial_id, len(every), are_named=points[0].rung is not None)
        return [(point, name, is_int8) for (point, is_int8), name in zip(every, names, strict=True)]

    def _candidate(self, point: Point, name: str, *, is_int8: bool) -> Candidate:
        """Measure a network, or its int8 file, and write it to the storage under `name`."""
        made, measures = (self._int8 if is_int8 else self._float)(point, name)
        own = {} if point.rung is None else student.of_rung(self.config, point.rung).model_dump(mode="json")
        return Candidate(measures=measures, amount=point.amount, made=made, rung=point.rung, config=own)

    def _float(self, point: Point, name: str) -> tuple[str, dict[str, float]]:
        measures = student_measures.final_measures(point.model, self.context)
        until_written(partial(self._write, name, point), logger.warning)
        return point.made, measures

    def _int8(self, point: Point, name: str) -> tuple[str, dict[str, float]]:
        """Quantise a network, measure its int8 file in onnxruntime, and write both to the storage under `name`."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / runtime.INT8_FILE
            about = runtime.described(student.architecture_of(self.config, self.context, point))
            left = int8.quantise(point.model.cpu(), self.context, path, about)
            measures = int8.measured(path, point.model, self.context)
            until_written(partial(self._write, name, point, path), logger.warning)
        made = f"{point.made}, int8" if point.made else "int8"
        return f"{made} but for {left}" if left else made, measures

    def _timed(self, found: Sequence[Candidate], named: Sequence[tuple[Point, str, bool]]) -> list[Candidate]:
        """Return the candidates with their latencies; the networks are measured in turn."""
        networks = {
            name: self.students.local_path(name) / runtime.INT8_FILE if is_int8 else point.model
            for point, name, is_int8 in named
        }
        timed = latency.latencies_ms(networks, self.context)
        return [replace(one, measures=one.measures | timed[name]) for one, (_, name, _) in zip(found, named, strict=True)]

    def _write(self, name: str, point: Point, int8_file: Path | None = None) -> None:
        """Write a network atomically; it replaces the network of an earlier training of the trial."""
        architecture = student.architecture_of(self.config, self.context, point)
        with self.students.draft(name, existing="replace") as draft:
            if int8_file:
                shutil.copyfile(int8_file, draft / runtime.INT8_FILE)
                architecture = {**architecture, runtime.INT8: sha256_of(int8_file)}
            checkpoint.write(draft, point.model, architecture)

    def save(self, path: Path) -> None:
        """Write the state that `restore` needs."""
        state = packing.from_bytes(self._group.ask("state")) if self._group else self.training.state()
        torch.save({"training": state, "curve": self.curve}, path)

    @preserved()
    def restore(self, path: Path) -> None:
        """Resume from a file that `save` wrote; no code in the file is run."""
        saved = packing.read(path)
        self.training.restore(saved["training"], load)
        self.curve = saved["curve"]


def _trial_device(workers: Workers) -> str:
    return "cuda" if workers.workers == 0 and workers.gpus > 0 and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, kw_only=True)
class StudentTrials:
    """A factory of a sweep's trials, called with (trial_id, config) in the process that runs the trial."""

    context: TrainingContext
    students: Storage
    workers: Workers
    with_latency: bool = False

    def __call__(self, trial_id: str, config: dict[str, Any]) -> StudentTrial:
        return StudentTrial(config, self.context, self.context.seed, self.students, trial_id, self.workers, self.with_latency)


def train_students(
    configs: Mapping[str, tuple[dict[str, Any], int]], context: TrainingContext, students: Storage, workers: Workers
) -> Generator[tuple[str, list[dict[str, float]]], None, None]:
    """Train named (config, seed) students outside any search, in parallel on the cluster; yield each one's measures at its end.

    The measures, with the training's `elapsed_s`, are one mapping for each candidate. The networks are then in
    `students`, under the names that `candidate_ids` derives from the student's name. Raises `WorkFailed` if a training fails;
    the running ones are then cancelled.
    """

    own = workers if workers.workers == 0 else HERE  # with workers, the process that drives them needs no resources

    @ray.remote(num_cpus=own.cpus, num_gpus=own.gpus)
    def run(name: str, config: dict[str, Any], seed: int) -> list[dict[str, float]]:
        torch.set_num_threads(max(1, int(workers.cpus)))
        started_s = time.monotonic()
        with closing(StudentTrial(config, context, seed, students, name, workers)) as trial:
            row = trial.step()
            while not row["done"]:
                row = trial.step()
        each = [one["measures"] for one in row.get("candidates", [row])]
        return [{**measures, "elapsed_s": time.monotonic() - started_s} for measures in each]

    names: dict[Any, str] = {}
    left, pending = iter(configs.items()), list[Any]()
    try:
        while True:
            for name, (config, seed) in islice(left, _most_at_once(workers, len(configs)) - len(pending)):
                pending.append(run.remote(name, config, seed))
                names[pending[-1]] = name
            if not pending:
                return
            ended, pending = ray.wait(pending)
            yield names[ended[0]], ray.get(ended[0])
    except ray.exceptions.RayError as error:
        raise WorkFailed(f"the training of {names[ended[0]]} failed: {cause_of(error)}") from error
    finally:
        for one in pending:
            ray.cancel(one, force=True)


def _most_at_once(workers: Workers, num_students: int) -> int:
    """Return how many students may run at once: Ray queues those without workers; those with workers could deadlock."""
    if workers.workers == 0:
        return num_students
    demand = Demand(name="trial", workers=workers.workers, cpus=workers.cpus, gpus=workers.gpus)
    return max(1, placement.jobs_at_once(placement.nodes_of(ray.nodes()), demand))
