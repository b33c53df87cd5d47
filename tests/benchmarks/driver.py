"""What the driver costs by itself: a suggestion after so many students, a ledger line, memory after ten thousand results.

    python tests/benchmarks/driver.py [--json] [--observations 2000] [--samplers tpe nsga2 nsga3 random] [--results 10000]

Students are random ones of the space of digits_record.yaml with invented losses: only time and memory are looked at.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import machine

from tutelage import pareto, spec
from tutelage.record import Ledger
from tutelage.search.sampler import Draw, Sampler
from tutelage.search.suggest import record_of
from tutelage.space import any_value

SPEC = Path(__file__).parent / "digits_record.yaml"
TIMED = 20


def suggestion_ms(kind: str, observations: int, *, journal: Path | None) -> float:
    loaded, generator = spec.load(SPEC), Random(0)
    sampler = Sampler(loaded.space, 2, kind, 0, journal=journal)
    for number in range(observations):
        config, params = loaded.space.resolve(lambda name, domain: any_value(generator, domain))
        sampler.take_up(Draw(number=number, config=config, params=params))
        sampler.tell_finished(number, [generator.random(), generator.random()], {})
    seconds = []
    for _ in range(TIMED):
        started_s = time.perf_counter()
        draw = sampler.ask()
        seconds.append(time.perf_counter() - started_s)
        sampler.tell_finished(draw.number, [generator.random(), generator.random()], {})
    return statistics.median(seconds) * 1e3


def booked(results: int, path: Path) -> dict[str, Any]:
    """Book results as a sweep does, each with a curve of 27 epochs; return milliseconds a result and the peak of memory."""
    loaded, generator, ledger, front = spec.load(SPEC), Random(0), Ledger(path), pareto.Front()
    sampler = Sampler(loaded.space, 2, "random", 0)
    row = {"epoch": 1.0, "train_loss": 0.5, "accuracy": 0.5, "step_s": 0.1}
    started_s = time.perf_counter()
    for number in range(results):
        draw = sampler.ask()
        losses = [generator.random(), generator.random()]
        measures = {"accuracy": 1 - losses[0], "params": losses[1]}
        ledger.append(record_of(draw, "finished", measures=measures, curve=tuple({**row, "epoch": e + 1.0} for e in range(27))))
        front.add(losses, str(number))
        sampler.tell_finished(draw.number, losses, {})
    took_ms = (time.perf_counter() - started_s) / results * 1e3
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"results": results, "ms a result": took_ms, "driver's peak, MB": peak_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--observations", type=int, default=2000)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--samplers", nargs="*", default=["tpe", "nsga2", "nsga3", "random"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print("booking", file=sys.stderr)
        machine.show("Booking results", [booked(options.results, Path(scratch) / "trials.jsonl")], as_json=options.json)
        rows = [
            {"sampler": kind, "ms a suggestion": suggestion_ms(kind, options.observations, journal=None)}
            for kind in options.samplers
        ]
    machine.show(f"A suggestion after {options.observations} students, median of {TIMED}", rows, as_json=options.json)


if __name__ == "__main__":
    main()
