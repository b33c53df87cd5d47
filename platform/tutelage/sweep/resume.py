"""Resuming a sweep: after a stop, after a crash, or to extend it when it has finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tutelage.errors import InputError
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Observer
from tutelage.records.sweep_dir import SweepDir
from tutelage.spec.spec import Spec
from tutelage.spec.yaml_lines import dump
from tutelage.sweep import identity, pipeline
from tutelage.training.context import TrainingContext

MORE = ("search.trials", "search.hours", "search.device_hours")  # of these a resumed sweep may have more


FREE = (
    "resources",
    "select",
    "search.concurrency",
    "search.confirm",
    "search.checkpoint_epochs",
    "search.plateau",
    "knowledge.local_dir",
)


def resume(
    home: SweepDir, *, trials: str | int | None = None, spec: Spec | None = None, address: str | None = None,
    observers: Sequence[Observer] = (),
) -> SweepDir:  # fmt: skip
    """Continue a sweep where its last driver ended; no student is trained twice.

    `trials` is a new total, or "+50" for as many more; `spec` may extend the sweep's own and change nothing else. What has
    ended is kept, what was running goes on from its last checkpoint, the sampler learns from the ledger, and MLflow is given
    what it lacks. Raises `InputError` if another driver is at work, or if spec or data are others than they were.
    """
    with Dispatcher(observers) as events:
        home.check_idle()
        before = home.spec()
        wanted = with_trials(spec or before, trials)
        check_extends(before, wanted)
        context = pipeline.opened(wanted, events)
        _check_data(home, context)
        if home.facts().get("code") not in (None, identity.search_code(wanted)):
            events.stage("the code that trains has changed since the sweep began: its students were trained by more than one")
        return pipeline.run(wanted, context, partial(_extended, home, wanted), address=address, events=events)


def with_trials(spec: Spec, trials: str | int | None) -> Spec:
    """Return the spec with `trials` in all, or with as many more ("+50"); `InputError` for anything else."""
    if trials is None:
        return spec
    text, now = str(trials).strip(), spec.search.trials
    digits = text.removeprefix("+")
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0:
        raise InputError(f"--trials {trials}: write how many there are to be in all (80), or how many more (+50).")
    if text.startswith("+") and now is None:
        raise InputError(f"--trials {trials}: the sweep has no number of trials, but an end in time. Write a number in all.")
    total = int(digits) + (now or 0 if text.startswith("+") else 0)
    return spec.model_copy(update={"search": spec.search.model_copy(update={"trials": total})})


def check_extends(before: Spec, wanted: Spec) -> None:
    """Raise `InputError`, which shows every difference, unless `wanted` is `before` with more of what ends a search.

    What a job takes of the cluster, and what is selected in the end, may be changed as well.
    """
    differences = [
        (name, old, new)
        for name, old, new in _differences(before.resolved(), wanted.resolved())
        if not any(name == free or name.startswith(f"{free}.") for free in FREE)
        and not (name in MORE and (new is None or (old is not None and new >= old)))
    ]
    if differences:
        listed = "\n".join(f"  {name}: {old} → {new}" for name, old, new in differences)
        raise InputError(
            f"the spec is not that of sweep '{before.name}', of which it may only have more ({', '.join(MORE)}):\n{listed}\n"
            "Take these back, or begin a sweep of another name."
        )


def _differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before and after:
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield path, before, after


def _check_data(home: SweepDir, context: TrainingContext) -> None:
    known = home.facts().get("fingerprint")
    if known not in (None, context.fingerprint):
        raise InputError(
            f"the data of sweep '{home.name}' have changed: fingerprint {context.fingerprint[:16]}, and {known[:16]} when it "
            "began. Its students would not be comparable. Put the data back, or begin a sweep of another name."
        )


@contextmanager
def _extended(home: SweepDir, wanted: Spec) -> Iterator[SweepDir]:
    """Be the sweep's driver for the time of a block, with the spec extended."""
    with home.driven():
        if wanted != home.spec():
            home.files.put("spec.yaml", dump(wanted.resolved()))
        yield home
