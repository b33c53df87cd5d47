"""Builds a sweep's search from its parts: sampler, stopping rule, budget, and Ray Tune."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tutelage import plugins
from tutelage.errors import InputError, TutelageError
from tutelage.foreign import blamed, blamed_calls
from tutelage.objectives import even_reference, worst_end
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.search import judges
from tutelage.search.budget import Budget
from tutelage.search.first_trials import first_suggestions
from tutelage.search.gaussian_process import Array
from tutelage.search.rules import Judge
from tutelage.search.sampler import Sampler
from tutelage.search.samplers import Chooser
from tutelage.search.suggest import Callbacks, Goal, SeededSuggestion, Suggester, size_losses
from tutelage.spec.spec import Spec
from tutelage.sweep import knowledge, warm_start
from tutelage.sweep.identity import student_address
from tutelage.sweep.published import published_recipes
from tutelage.sweep.recorder import Recorder
from tutelage.sweep.search_loop import SearchLoop, with_spent
from tutelage.sweep.sizing import initial_params, presize, remembering
from tutelage.training.context import TrainingContext

SEEDED_SHARE = 4  # at most one in this many trials is a seeded suggestion


def search(spec: Spec, context: TrainingContext, recorder: Recorder, earlier: Sequence[TrialRecord] = ()) -> None:
    """Search students on Ray Tune; the recorder gets the start and the end of every trial.

    `earlier` are the records of a resumed search: the sampler learns from ended trials, the others are trained first.
    """
    loop = _opened(spec, context, recorder)
    facts = recorder.home.facts() if earlier else {}
    loop.resume(with_spent(earlier, facts.get("running_s", {})))
    with _continuable(recorder.home):
        loop.run(spec, context, spent_s=facts.get("search_s", 0.0))


@contextmanager
def _continuable(home: SweepDir) -> Iterator[None]:
    """Add to an `InputError` of a search that has students, such as that of a stopping rule, how the search is continued."""
    try:
        yield
    except InputError as error:
        if not (count := len(home.ledger.ended())):
            raise
        kept = f"{count} trials have ended and are kept." if count > 1 else "1 trial has ended and is kept."
        raise InputError(f"{error} {kept} To continue when it is mended: {home.command('resume')}") from error


def _opened(spec: Spec, context: TrainingContext, recorder: Recorder) -> SearchLoop:
    """Return a search that has not suggested anything yet."""
    warm = warm_start.read(spec, recorder.home, context)
    stopping = _stopping(spec, context, recorder)
    rungs = stopping.rungs if stopping else frozenset()
    journal = recorder.home.files.writable_path("study.journal")
    sampler = Sampler(spec.space, len(recorder.objectives), spec.search.sampler, spec.seed, sorted(rungs), journal)
    callbacks = Callbacks(
        presize=remembering(partial(presize, spec, context)), recall=warm.recall,
        identify=partial(student_address, spec, context, recorder.teacher_address),
        on_started=recorder.started, on_ended=recorder.rejected,
    )  # fmt: skip
    seeded = [*warm.seeded, *_initial_design(spec, context)][: _most_seeded(spec)]
    chooser = _chooser(spec, recorder, callbacks)
    suggester = Suggester(
        sampler, Goal(objectives=recorder.objectives, limits=recorder.limits, learned=spec.primary), callbacks,
        spec.search.trials, seeded=seeded, chooser=chooser,
    )  # fmt: skip
    warm.add_to(suggester)
    return SearchLoop(recorder=recorder, suggester=suggester, stopping=stopping, budget=_budget(spec))


def _chooser(spec: Spec, recorder: Recorder, callbacks: Callbacks) -> Chooser | None:
    """Return the chooser of the spec's sampler, which suggests students by their sizes; None if it has none."""
    name, plugin, config = plugins.configure("samplers", spec.search.sampler)

    def losses_of(params: Mapping[str, Any]) -> Array | None:
        try:
            sizes = callbacks.presize(spec.space.resolve(lambda name, domain: params[name])[0]).final
        except TutelageError:
            return None
        return None if recorder.limits.missed(sizes) else size_losses(sizes, recorder.objectives, spec.primary)

    if not hasattr(plugin, "chooser"):
        return None
    reference, worst = even_reference(recorder.objectives, spec.primary.name), worst_end(recorder.objectives, spec.primary)
    found: Chooser
    if ":" not in name:
        found = plugin.chooser(config, spec.space, losses_of, spec.seed, reference, worst)
        return found
    what = f"sampler '{name}': chooser"
    with blamed(what):
        found = plugin.chooser(config, spec.space, losses_of, spec.seed, reference, worst)
    return blamed_calls(found, what)


def _most_seeded(spec: Spec) -> int:
    return max(1, spec.search.trials // SEEDED_SHARE) if spec.search.trials else 8


def _initial_design(spec: Spec, context: TrainingContext) -> list[SeededSuggestion]:
    if not spec.search.initial_design:
        return []
    size_of = partial(initial_params, spec, context)
    return first_suggestions(spec.space, spec.default_of, size_of, _most_seeded(spec), published_recipes(spec))


def _budget(spec: Spec) -> Budget:
    trial, plateau = spec.resources.trial, spec.search.plateau
    return Budget(
        device_hours=spec.search.device_hours, devices=(trial.gpus or trial.cpus) * max(1, trial.workers),
        plateau_trials=plateau.trials if plateau else None, plateau_gain=plateau.gain if plateau else 0.0,
    )  # fmt: skip


def _stopping(spec: Spec, context: TrainingContext, recorder: Recorder) -> Judge | None:
    """Return the judge of trials at rungs; None without `search.stopping`, or if students are too short to have a rung."""
    context_of_rule = judges.rule_context(
        spec, recorder.objectives, max_epochs=knowledge.longest_epochs(spec), num_validation=len(context.splits["validation"])
    )
    if spec.search.stopping is None or context_of_rule is None:
        return None
    return judges.built(spec.search.stopping.rule, context_of_rule)
