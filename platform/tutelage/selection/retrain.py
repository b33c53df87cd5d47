"""Trains students of a sweep again, with fresh seeds or without their teacher, and records the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import WorkFailed
from tutelage.networks import checkpoint
from tutelage.records.reruns import Run
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord, candidate_id, candidate_ids
from tutelage.selection.estimate import FreshValues
from tutelage.storage import Storage
from tutelage.training import ray_train, student_jobs
from tutelage.training.context import TrainingContext

FRESH_SEED = 1000  # the first fresh seed; a search uses none that high


def label_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the label-only baseline: same network, sparsity and epochs, random initial weights, no teacher."""
    without_teacher = {**config["distillation"], "weight": 0.0}
    return {**config, "student": {**config["student"], "initialise": "random"}, "distillation": without_teacher}


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Trains students of a sweep again, in parallel on the cluster; recorded trainings are not repeated."""

    home: SweepDir
    context: TrainingContext
    workers: ray_train.Workers
    num_seeds: int

    @property
    def seeds(self) -> list[int]:
        """The fresh seeds, the same for all students."""
        return [FRESH_SEED + self.context.seed + number for number in range(self.num_seeds)]

    def confirmed(self) -> FreshValues:
        """Return the primary measures of the students that are recorded with every fresh seed."""
        found = self.home.reruns.values(self.seeds, distilled=True)
        return {trial: [runs[seed] for seed in self.seeds] for trial, runs in found.items() if set(self.seeds) <= set(runs)}

    def distilled(self, records: Sequence[TrialRecord]) -> FreshValues:
        """Train each of `records` with the fresh seeds that it lacks; return by trial its primary measure, one value a seed."""
        self._train([(record, True, seed) for record in records for seed in self.seeds])
        confirmed = self.confirmed()
        return {record.trial_id: confirmed[record.trial_id] for record in records}

    def label_only(self, record: TrialRecord) -> tuple[float, list[float]]:
        """Train a student's label-only baseline, with the search's own seed and the fresh ones; return its primary measures.

        The first one's weights are kept in `baseline_dir`.
        """
        assert self.has_labels, "a label-only baseline needs a labelled training example"
        own = self.context.seed
        self._train([(record, False, seed) for seed in (own, *self.seeds)])
        runs = self.home.reruns.values([own, *self.seeds], distilled=False)[record.trial_id]
        return runs[own], [runs[seed] for seed in self.seeds]

    @property
    def has_labels(self) -> bool:
        """Whether any training example has a label, so that a label-only baseline can be trained."""
        return self.context.splits["train"].num_labelled > 0

    def baseline_dir(self, record: TrialRecord) -> Path:
        """Return the directory of the label-only baseline with the search's own seed."""
        return self._retrained.local_path(_network(record, False, self.context.seed))

    @property
    def _retrained(self) -> Storage:
        return self.home.files.within("retrained")

    def _train(self, runs: Sequence[tuple[TrialRecord, bool, int]]) -> None:
        """Train and record those of `runs` (student, distilled, seed) that are not recorded or have no weights.

        One training gives all candidates of a trial; with a ladder, those up to the highest rung among `runs`.
        """
        done = {(run.trial, run.distilled, run.seed) for run in self.home.reruns.read()}
        missing = {
            _name(record, distilled, seed): (record, distilled, seed)
            for record, distilled, seed in sorted(runs, key=lambda one: one[0].candidate or 0)
            if (record.trial_id, distilled, seed) not in done
            or checkpoint.WEIGHTS not in self._retrained.list(_network(record, distilled, seed))
        }
        configs = {
            name: (record.config if distilled else label_only(record.config), seed)
            for name, (record, distilled, seed) in missing.items()
        }
        with closing(student_jobs.train_students(configs, self.context, self._retrained, self.workers)) as trained:
            for name, found in trained:
                self._put_on_record(*missing[name], found)

    def _put_on_record(self, record: TrialRecord, distilled: bool, seed: int, found: Sequence[Mapping[str, float]]) -> None:
        """Record the candidates of one training; `WorkFailed` if the candidate of `record` is not among them."""
        primary, trials = self.context.built_task.measures[0].name, _names(record, len(found))
        if record.trial_id not in trials:
            raise WorkFailed(f"the repeated training of {record.trial_id} has other candidates: {', '.join(trials)}.")
        for trial, measures in zip(trials, found, strict=True):
            run = Run(trial=trial, distilled=distilled, seed=seed, value=measures[primary], elapsed_s=measures["elapsed_s"])
            self.home.reruns.append(run)


def _name(record: TrialRecord, distilled: bool, seed: int) -> str:
    return f"{_trial(record)}/{'distilled' if distilled else 'label-only'}-{seed}"


def _network(record: TrialRecord, distilled: bool, seed: int) -> str:
    name = _name(record, distilled, seed)
    return name if record.candidate is None else candidate_id(name, record.candidate)


def _names(record: TrialRecord, count: int) -> list[str]:
    return candidate_ids(_trial(record), count, are_named=record.candidate is not None)


def _trial(record: TrialRecord) -> str:
    return record.parent or record.trial_id
