"""Where a sweep is kept: `<storage>/sweeps/<name>/`, with its spec, events, trials, students and results."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from tutelage import plugins
from tutelage.errors import InputError, WorkFailed, first_line
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records.events import Events
from tutelage.records.json_lines import JsonLines
from tutelage.records.ledger import Ledger
from tutelage.records.reruns import Reruns
from tutelage.records.trial import OPEN, TrialRecord
from tutelage.redaction import redacted
from tutelage.spec.loading import default_tracking_uri, whole_uri
from tutelage.spec.loading import load as load_spec
from tutelage.spec.paths import located
from tutelage.spec.spec import Spec
from tutelage.spec.yaml_lines import dump
from tutelage.storage import LeaseHeld, Storage, lease_in_turn

DEFAULT = ".tutelage"  # the storage of a command that names none


STARTED_IN = "started_in"  # the fact that holds the directory from which the storage was used


SPEC, EVENTS, LEDGER, RERUNS, SELECTION = "spec.yaml", "events.jsonl", "trials.jsonl", "reruns.jsonl", "selection.json"
EXAMPLES = "examples.json"  # those that the report shows


def test_evaluations(home: SweepDir) -> dict[str, int]:
    """Return how often a sweep's test split has been evaluated, and for how many different students."""
    evaluations = home.facts().get("test_evaluations", [])
    return {"evaluations": len(evaluations), "students": len({one["subjects"]["student"] for one in evaluations})}


def record_test_evaluation(home: SweepDir, trial: str, by: str) -> None:
    """Record that a trial's student was measured on the test split outside of a selection."""
    home.update(test_evaluations={"by": by, "subjects": {"student": trial}, "unix_time_s": time.time()})


@dataclass(frozen=True)
class SweepDir:
    """The files of the sweep of that name in a storage."""

    storage: Storage
    name: str

    @cached_property
    def files(self) -> Storage:
        """The sweep's own files."""
        return self.storage.within(f"sweeps/{self.name}")

    @property
    def _lease(self) -> str:
        """The key of the driver's lease in the storage: outside of the sweep, because a new sweep replaces an abandoned one."""
        return f"sweeps/{self.name}"

    @property
    def spec_path(self) -> Path:
        """The spec as resolved, YAML."""
        return self.files.local_path(SPEC)

    def spec(self) -> Spec:
        """Return the sweep's spec, with the storage where it is now and the paths seen from where the sweep was started.

        Its values are not repeated among the facts. `WorkFailed` if the file is damaged.
        """
        kept = self.kept_spec().model_copy(update={"storage": self.storage.uri})
        return located(kept, [self.started_in, Path.cwd()])

    def kept_spec(self) -> Spec:
        """Return the spec as it was written when the sweep was started; raises as `spec` does."""
        try:
            return load_spec(self.spec_path)
        except InputError as error:
            raise WorkFailed(
                f"{self.spec_path}: the spec of sweep '{self.name}' is damaged ({first_line(error)}). Give the one "
                f"that it was started with: {self.command('resume')} --spec FILE."
            ) from error

    @property
    def started_in(self) -> Path:
        """The directory in which the sweep was started, as its storage sees it: it may have been moved with the storage."""
        with suppress(WorkFailed):
            return Path(os.path.normpath(os.path.join(self.storage.writable_path(""), self.facts()[STARTED_IN])))
        return Path.cwd()

    def spec_text(self) -> str:
        """Return the sweep's spec as resolved, YAML without secrets, to be shown; raises as `spec` does."""
        return dump(redacted(self.kept_spec().kept()))

    def command(self, verb: str) -> str:
        """Return the command of the program that does something with the sweep, to be copied into a shell."""
        return f"tutelage {verb} {self.name}{storage_option(self.storage.uri)}"

    @property
    def tracking_uri(self) -> str:
        """The URI of the MLflow that the sweep is tracked by; raises as `loading.whole_uri` does."""
        return whole_uri(self.shown_tracking_uri)

    @property
    def shown_tracking_uri(self) -> str:
        """The same URI without user and password, as the sweep keeps it."""
        return self.spec().tracking.uri or default_tracking_uri(self.storage.uri)

    @property
    def students(self) -> Storage:
        """One directory a trained student, named by its trial."""
        return self.files.within("students")

    def student_path(self, trial: str) -> Path:
        """Return the directory from which the student of that trial is read on this machine."""
        return self.students.local_path(trial)

    @property
    def ledger(self) -> Ledger:
        """The trials' records."""
        return Ledger(self._lines(LEDGER))

    @property
    def reruns(self) -> Reruns:
        """The trainings of its students with fresh seeds, and without their teacher."""
        return Reruns(self._lines(RERUNS))

    def _lines(self, key: str) -> JsonLines:
        way_out = f"`{self.command('resume')}` sets broken lines aside and continues with the others."
        return JsonLines(self.files, key, way_out)

    @property
    def spool_path(self) -> Path:
        """What MLflow has not received yet; there is no such file once it has received all."""
        return self.files.writable_path("tracking.spool")

    def trials(self) -> list[TrialRecord]:
        """Return the trials that have ended, in order of suggestion."""
        return [record for record in self.ledger.read() if record.state not in OPEN]

    def records(self) -> list[TrialRecord]:
        """Return one record for each candidate of the ended trials, and one for a trial that gave none."""
        return [one for trial in self.trials() for one in trial.per_candidate()]

    def add_measures(self, more: Mapping[str, Mapping[str, float]]) -> None:
        """Put further measures on record, given by the names of candidates."""
        for trial in self.trials():
            if any(one.trial_id in more for one in trial.per_candidate()):
                self.ledger.append(trial.with_measures(more))

    def pending(self) -> list[TrialRecord]:
        """Return the trials that have started and not ended, in order of suggestion."""
        return [record for record in self.ledger.read() if record.state == "running"]

    def paused(self) -> list[TrialRecord]:
        """Return the trials that are paused at a rung, in order of suggestion."""
        return [record for record in self.ledger.read() if record.state == "paused"]

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Be the sweep's only driver within the block; `InputError` names the process that is already."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.storage.lease(self._lease))
            except LeaseHeld as held:
                self._refuse(held.holder)
            yield

    @contextmanager
    def in_turn(self, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only process that works on the finished sweep: a second one waits, with a message, but not for a search."""
        with ExitStack() as stack:
            if self.facts().get("state") == "running":
                stack.enter_context(self.driven())
            else:
                stack.enter_context(lease_in_turn(self.storage, self._lease, say, f"sweep '{self.name}'"))
            yield

    def check_idle(self) -> None:
        """Raise as `driven` does if a driver is at work on the sweep."""
        if holder := self.storage.holder(self._lease):
            self._refuse(holder)

    def _refuse(self, holder: str) -> NoReturn:
        raise InputError(
            f"sweep '{self.name}' is being driven by {holder}. Wait for it, or stop it: two drivers would train every student "
            "twice."
        ) from None

    def is_driven(self) -> bool:
        """Return whether a driver is at work on the sweep."""
        return self.storage.holder(self._lease) is not None

    def has_started(self) -> bool:
        """Return whether there is a sweep in the directory."""
        return not {SPEC, EVENTS, LEDGER}.isdisjoint(self.files.list())

    def set_aside_broken(self) -> dict[str, int]:
        """Move the broken lines of the sweep's files aside, for its driver; return by file how many these were."""
        kept: dict[str, Events | Ledger | Reruns] = {EVENTS: self._events, LEDGER: self.ledger, RERUNS: self.reruns}
        return {name: count for name, lines in kept.items() if (count := lines.set_aside_broken())}

    @property
    def _events(self) -> Events:
        return Events(self._lines(EVENTS))

    def facts(self) -> dict[str, Any]:
        """Return what is known of the sweep as a whole: its state, MLflow run, teacher, objectives, test evaluations, times.

        A fact that is not on record raises `WorkFailed`, not `KeyError`.
        """
        return Facts(self, self._events.facts())

    def update(self, **facts: Any) -> None:
        """Add facts to what is known, without secrets; any number of processes may do so at the same time (see `events`)."""
        self._events.append(**redacted(facts))

    def selection(self) -> dict[str, Any] | None:
        """Return the result of the latest `select`; None before the first, `WorkFailed` if the file is damaged."""
        path = self.files.local_path(SELECTION)
        if not path.exists():
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            assert isinstance(document, dict) and document["student"]["trial"], "no student"
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise WorkFailed(f"{path}: damaged ({error}). `{self.command('select')}` writes it again.") from error
        return document

    def examples(self) -> dict[str, Any] | None:
        """Return the examples that the latest `select` kept for the report; None without any, or if the file is damaged."""
        path = self.files.local_path(EXAMPLES)
        with suppress(OSError, ValueError):
            document = json.loads(path.read_text(encoding="utf-8"))
            return document if isinstance(document, dict) else None
        return None

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives with the reference points that were fixed when the sweep began."""
        measures = self.measures()
        return tuple(Objective.from_document(fields, measures) for fields in self.facts()["objectives"])

    def measures(self) -> dict[str, Measure]:
        """Return what the sweep measures of its students by name, the task's primary measure first."""
        return measures_in(self.facts())

    def primary(self) -> Measure:
        """Return the primary measure of the sweep's task."""
        return next(iter(self.measures().values()))


class Facts(dict[str, Any]):
    """What is known of a sweep; `[name]` raises `WorkFailed` for what is not on record."""

    def __init__(self, sweep: SweepDir, known: Mapping[str, Any]) -> None:
        super().__init__(known)
        self._sweep = sweep

    def __missing__(self, name: str) -> NoReturn:
        raise WorkFailed(
            f"sweep '{self._sweep.name}' has no '{name}' on record: it ended before its search began, or its {EVENTS} was "
            f"damaged. `{self._sweep.command('resume')}` continues it and writes what is missing again."
        )


def measures_in(facts: Mapping[str, Any]) -> dict[str, Measure]:
    """Return the measures that a sweep's facts hold by name, the task's primary measure first; ours are there always."""
    own = [Measure.from_document(document) for document in facts.get("measures", ())]
    return {measure.name: measure for measure in [*own, *map(plugins.measure, plugins.names("measures"))]}


def storage_option(storage: str) -> str:
    """Return the option of the command line that names a storage, quoted for a shell; "" for the default one."""
    return "" if storage == DEFAULT else f" --storage {shlex.quote(storage)}"
