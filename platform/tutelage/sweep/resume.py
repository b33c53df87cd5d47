"""Resumes a sweep after a stop or a crash, or extends a finished one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tutelage.errors import InputError, WorkFailed
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Observer
from tutelage.records.sweep_dir import SPEC, SweepDir
from tutelage.selection.same_data import check_data
from tutelage.spec.paths import located, seen_from
from tutelage.spec.spec import Spec
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import identity, pipeline
from tutelage.sweep.extension import address_of, check_extends, with_trials


def resume(
    home: SweepDir, *, trials: str | int | None = None, spec: Spec | None = None, address: str | None = None,
    observers: Sequence[Observer] = (),
) -> SweepDir:  # fmt: skip
    """Continue a sweep where its last driver ended; no student is trained twice.

    `trials` is a new total, or "+50" for additional trials; `spec` may extend the sweep's own and change nothing else. Ended
    trials are kept, running ones continue from their last checkpoint, the sampler learns from the ledger, and MLflow gets
    what it lacks. Broken lines of the sweep's files are moved aside first.

    Raises `InputError` if another driver is running, or if the spec or the data have changed.
    """
    with Dispatcher(observers) as events:
        home.check_idle()
        _repair(home, events)
        before = _before(home, spec)
        given = spec and located(spec, [Path.cwd()])
        first = given.search.trials if given else home.facts().get("trials_before") or before.search.trials
        wanted = with_trials(given or before, trials, first).model_copy(update={"storage": home.storage.uri})
        check_extends(before, wanted)
        context = pipeline.opened(wanted, events)
        check_data(home, context)
        if home.facts().get("code") not in (None, identity.search_code(wanted)):
            events.stage(
                "the training code has changed since the sweep started: its students are trained by different versions"
            )
        run_id = home.facts().get("run_id", "")
        return pipeline.run(
            wanted, context, partial(_extended, home, wanted, first), address=address, events=events, run_id=run_id
        )


def _before(home: SweepDir, given: Spec | None) -> Spec:
    """Return the sweep's own spec, or the given one if its own is damaged; `InputError` if they differ."""
    try:
        return home.spec()
    except WorkFailed:
        if given is None:
            raise
    if home.facts().get("spec") not in (None, address_of(given)):
        raise InputError(
            f"the spec of sweep '{home.name}' is damaged, and the given spec is not the one with which it was started: they "
            "differ in settings of trainings or of the search. Give the original spec."
        ) from None
    return given


def _repair(home: SweepDir, events: Dispatcher) -> None:
    """Move the broken lines of the sweep's files aside, and send a message for each file."""
    with home.driven():
        for name, count in home.set_aside_broken().items():
            lines = "1 broken line" if count == 1 else f"{count} broken lines"
            events.stage(f"{name} had {lines}, moved to {name}.damaged; their content is lost, or computed again")


@contextmanager
def _extended(home: SweepDir, wanted: Spec, num_before: int | None) -> Iterator[SweepDir]:
    """Drive the sweep within the block, with its extended spec; `num_before` is the number of trials before."""
    with home.driven():
        home.files.put(SPEC, dump(seen_from(wanted, home.started_in).kept()))
        home.update(spec=address_of(wanted), trials_before=num_before)
        yield home
