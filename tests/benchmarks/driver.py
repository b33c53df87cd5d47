"""What the driver costs by itself: suggestions, verdicts, ledger lines, memory after ten thousand results, a thousand workers.

    python tests/benchmarks/driver.py [--json] [--observations 2000] [--samplers tpe nsga2 nsga3 random] [--results 10000]

Students are random ones of the space of digits_record.yaml with invented losses: only time and memory are looked at.
"""

from __future__ import annotations

import heapq
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np

from tests.benchmarks import machine, smoke
from tutelage import pareto
from tutelage.objectives import Limits
from tutelage.records.json_lines import JsonLines
from tutelage.records.ledger import Ledger
from tutelage.records.trial import Sizes, State, Suggestion
from tutelage.search.promotion import Promotion
from tutelage.search.promotion import Student as PromotionStudent
from tutelage.search.rules import Rule, RuleContext, RuleJudge
from tutelage.search.rules.dominance import Dominance
from tutelage.search.rules.mo_asha import Halving
from tutelage.search.sampler import Sampler
from tutelage.search.size_aware import SizeAware
from tutelage.search.suggest import Callbacks, Goal, Suggester, size_losses
from tutelage.spec import loading
from tutelage.spec.domains import any_value
from tutelage.storage import open_storage
from tutelage.training import context, student_sizes

SPEC = Path(__file__).parent / "digits_record.yaml"
RUNGS, EPOCHS = (1, 3, 9), 27


def ledger_at(path: Path) -> Ledger:
    return Ledger(JsonLines(open_storage(path.parent), path.name))


def suggestion_ms(kind: str, observations: int, timed: int, *, journal: Path | None) -> float:
    loaded, generator = loading.load(SPEC), Random(0)
    sampler = Sampler(loaded.space, 2, kind, 0, journal=journal)
    for number in range(observations):
        config, params = loaded.space.resolve(lambda name, domain: any_value(generator, domain))
        sampler.resume(Suggestion(number=number, config=config, params=params))
        sampler.tell_finished(number, [generator.random(), generator.random()], {})
    seconds = []
    for _ in range(timed):
        started_s = time.perf_counter()
        suggestion = sampler.ask()
        seconds.append(time.perf_counter() - started_s)
        sampler.tell_finished(suggestion.number, [generator.random(), generator.random()], {})
    return statistics.median(seconds) * 1e3


def size_aware_ms(observations: int, timed: int) -> float:
    """Return the same for the sampler that knows sizes; those that it asks for are of real networks."""
    loaded, generator = loading.load(SPEC), Random(0)
    room = context.context_of(loaded)

    def known(params: Mapping[str, Any]) -> Any:
        config = loaded.space.resolve(lambda name, domain: params[name])[0]
        return size_losses(
            student_sizes.presize(loaded.trial_config(config), room).final, loaded.search.objectives, loaded.primary
        )

    chooser = SizeAware(loaded.space, known, 0, np.array([5.0, 0.0]))
    seconds = []
    for number in range(observations + timed):
        started_s = time.perf_counter()
        proposed = chooser.suggest(number) if number >= observations else None
        seconds.append(time.perf_counter() - started_s)
        params = proposed or loaded.space.resolve(lambda name, domain: any_value(generator, domain))[1]
        chooser.started(number, params, known(params))
        chooser.finished(number, -generator.random())
    return statistics.median(seconds[observations:]) * 1e3


def verdict_ms(rule: Rule, finished: int, timed: int) -> float:
    """Return the median milliseconds of a verdict at a rung, after so many students have finished."""
    generator, seconds = np.random.default_rng(0), []
    for number in range(finished + 10 * timed):
        known, errors = generator.random(1), np.sort(generator.random(4))[::-1].tolist()
        for rung, error in zip(RUNGS, errors, strict=False):
            started_s = time.perf_counter()
            rule.stops(rung, known, error)
            if number >= finished:
                seconds.append(time.perf_counter() - started_s)
        rule.finished(known, dict(zip(RUNGS, errors, strict=False)), errors[-1])
    return statistics.median(seconds) * 1e3


def promotion_ms(finished: int, timed: int) -> dict[str, float]:
    """Return milliseconds of promotion's verdict and of its choice among the paused, twice as many as have finished."""
    generator, rule = np.random.default_rng(0), Promotion(rungs=RUNGS, max_epochs=EPOCHS, share=1.0)
    students = dict[int, PromotionStudent]()

    def comes(key: int) -> None:
        known = generator.random(1)
        students[key] = PromotionStudent(known=known, whole=known, traits=generator.random(6))

    def seen(key: int, rung: int) -> float:
        started_s = time.perf_counter()
        if rung < EPOCHS:
            if rule.pauses(key, rung, students[key], float(np.log10(0.1 + generator.random() / rung))):
                rule.paused(key)
        else:
            rule.finished(key, students[key], float(np.log10(0.1 + generator.random() / rung)))
        return time.perf_counter() - started_s

    def ends(keys: range) -> None:
        for key in keys:
            comes(key)
            for rung in (*RUNGS, EPOCHS):
                seen(key, rung)

    def chooses() -> tuple[int | None, float]:
        started_s = time.perf_counter()
        return rule.promoted(is_last=False), time.perf_counter() - started_s

    ends(range(finished))
    for key in range(finished, 3 * finished):
        comes(key)
        seen(key, RUNGS[0])
    chooses()
    verdicts, choices = [], []
    for key in range(3 * finished, 3 * finished + 10 * timed):
        comes(key)
        verdicts.append(seen(key, RUNGS[0]))
        chosen, took_s = chooses()
        choices.append(took_s)
        if chosen is not None:
            seen(chosen, rule.students[chosen].epochs)
    ends(range(4 * finished, 4 * finished + finished // 50))
    return {
        "ms a verdict": statistics.median(verdicts) * 1e3, "ms a choice": statistics.median(choices) * 1e3,
        "ms where it has learnt anew, at most once in a hundredth more": chooses()[1] * 1e3,
    }  # fmt: skip


def busy(kind: str, workers: int, trials: int, epoch_s: float, path: Path) -> dict[str, Any]:
    """Return the share of the time that simulated workers train, until the last trial begins.

    The clock is fake but for the driver, which does one thing at a time: what it takes to judge, to suggest and to put on
    record is measured, and a worker waits for it at every rung and end.
    """
    loaded, ledger, generator = loading.load(SPEC), ledger_at(path), Random(0)
    objectives = loaded.search.objectives
    callbacks = Callbacks(
        presize=lambda config: Sizes(final={"params": 1e4 * generator.random()}),
        on_started=ledger.append,
        on_ended=ledger.append,
    )
    suggester = Suggester(
        Sampler(loaded.space, 2, kind, 0, RUNGS),
        Goal(objectives=objectives, limits=Limits(), learned=loaded.primary),
        callbacks,
        trials,
    )
    context = RuleContext(
        rungs=tuple(RUNGS), max_epochs=EPOCHS, factor=3, objectives=objectives, primary=loaded.primary, space=loaded.space,
        num_trials=trials, num_validation=359, seed=0,
    )  # fmt: skip
    judge = RuleJudge(Dominance(num_judged=359), context)
    events: list[tuple[float, int, Suggestion | None, int]] = [(0.0, worker, None, 0) for worker in range(workers)]
    trained: list[tuple[float, float]] = []
    free_s = last_begun_s = 0.0
    while events:
        came_s, worker, suggestion, epoch = heapq.heappop(events)
        began_s = time.perf_counter()
        if suggestion is not None and not _goes_on(suggestion, epoch, suggester, judge, ledger, generator):
            suggestion = None
        if suggestion is None:
            suggestion, epoch = suggester.next(), 0
        free_s = max(came_s, free_s) + time.perf_counter() - began_s
        if suggestion is not None:
            last_begun_s = free_s if epoch == 0 else last_begun_s
            following = next(rung for rung in (*RUNGS, EPOCHS) if rung > epoch)
            trained.append((free_s, free_s + (following - epoch) * epoch_s))
            heapq.heappush(events, (trained[-1][1], worker, suggestion, following))
    share = sum(min(end, last_begun_s) - min(start, last_begun_s) for start, end in trained) / (workers * last_begun_s)
    return {"sampler": kind, "workers": workers, "trials": trials, "epoch, s": epoch_s, "share of the time in training": share}


def _goes_on(
    suggestion: Suggestion, epoch: int, suggester: Suggester, judge: RuleJudge, ledger: Ledger, generator: Random
) -> bool:
    accuracy = 1 - generator.random() / epoch
    row = {"epoch": float(epoch), "train_loss": 0.5, "accuracy": accuracy, "step_s": 0.1}
    if epoch < EPOCHS:
        suggester.observe(suggestion, row)
        if judge.judge(suggestion, row) == "continue":
            return True
    state: State = "finished" if epoch == EPOCHS else "stopped"
    measures = {"accuracy": accuracy, **suggestion.sizes} if state == "finished" else {}
    record = suggestion.record(state, measures=measures, curve=tuple({**row, "epoch": e + 1.0} for e in range(epoch)))
    ledger.append(record)
    suggester.learn(record)
    judge.learn(record)
    return False


def booked(results: int, path: Path) -> dict[str, Any]:
    """Recorder results as a sweep does, each with a curve of 27 epochs; return milliseconds a result and the peak of memory."""
    loaded, generator, ledger, front = loading.load(SPEC), Random(0), ledger_at(path), pareto.Front()
    sampler = Sampler(loaded.space, 2, "random", 0)
    row = {"epoch": 1.0, "train_loss": 0.5, "accuracy": 0.5, "step_s": 0.1}
    started_s = time.perf_counter()
    for number in range(results):
        suggestion = sampler.ask()
        losses = [generator.random(), generator.random()]
        measures = {"accuracy": 1 - losses[0], "params": losses[1]}
        ledger.append(
            suggestion.record("finished", measures=measures, curve=tuple({**row, "epoch": e + 1.0} for e in range(27)))
        )
        front.add(losses, str(number))
        sampler.tell_finished(suggestion.number, losses, {})
    took_ms = (time.perf_counter() - started_s) / results * 1e3
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"results": results, "ms a result": took_ms, "driver's peak, MB": peak_mb}


def main() -> None:
    parser = smoke.Parser(__doc__, observations=12, results=50, timed=1, samplers=["random"], workers=10, trials=20)
    parser.add_argument("--observations", type=int, default=2000)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--timed", type=int, default=20, help="suggestions that are timed; verdicts ten times as many")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--samplers", nargs="*", default=["tpe", "nsga2", "nsga3", "random"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print("booking", file=sys.stderr)
        machine.show("Booking results", [booked(options.results, Path(scratch) / "trials.jsonl")], as_json=options.json)
        rows = [
            {"sampler": kind, "ms a suggestion": suggestion_ms(kind, options.observations, options.timed, journal=None)}
            for kind in options.samplers
        ]
        rows.append({"sampler": "size-aware", "ms a suggestion": size_aware_ms(options.observations, options.timed)})
        machine.show(
            f"A suggestion after {options.observations} students, median of {options.timed}", rows, as_json=options.json
        )
        rules: dict[str, Rule] = {"dominance": Dominance(num_judged=359), "mo-asha": Halving()}
        verdicts = [
            {"rule": name, "ms a verdict": verdict_ms(rule, options.results, options.timed)} for name, rule in rules.items()
        ]
        machine.show(f"A verdict after {options.results} finished students, median", verdicts, as_json=options.json)
        chosen = [{"rule": "promotion", **promotion_ms(options.results, options.timed)}]
        machine.show(f"Promotion after {options.results} finished students", chosen, as_json=options.json)
        shares = [
            busy(kind, options.workers, options.trials, 60.0, Path(scratch) / f"{kind}.jsonl") for kind in ("tpe", "random")
        ]
        machine.show(f"{options.workers} workers and one driver, rule dominance", shares, as_json=options.json)


if __name__ == "__main__":
    main()
