"""What logging costs a sweep, and how many results the spool takes: `python tests/benchmarks/tracking.py [--seconds 60]`.

Two parts, one JSON document:

* `cost`: two workers that hand in a result a second each, for `--seconds`, as a driver meets them. Every call that logs (the
  trial, its labels, the front) is timed, and so is the waiting at the end; `share` is their part of the wall time, and
  `cpu_share` the part of one core that the whole process took, the background thread included.
* `spool`: results put on the spool as fast as it takes them, with nobody writing to MLflow, as results a minute.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import smoke
from tests.tracking_driver import SEARCHED, log, record
from tutelage.records.spool import Spool
from tutelage.records.tracker import Tracker

WORKERS = 2


def cost(uri: str, seconds: float, folder: Path) -> dict[str, float]:
    tracker = Tracker(uri, "benchmark", folder / "tracking.spool")
    tracker.start_sweep("benchmark", {}, SEARCHED, {})
    tracker.flush()
    began_s, began_cpu_s, logging_s, number = time.perf_counter(), time.process_time(), 0.0, 0
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        if number < elapsed_s * WORKERS:
            before_s = time.perf_counter()
            log(tracker, number)
            logging_s += time.perf_counter() - before_s
            number += 1
        time.sleep(0.01)
    before_s = time.perf_counter()
    tracker.finish("FINISHED")
    tracker.close()
    closing_s = time.perf_counter() - before_s
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    return {
        "results": number, "wall_s": wall_s, "logging_s": logging_s, "closing_s": closing_s,
        "share": (logging_s + closing_s) / wall_s, "cpu_share": cpu_s / wall_s,
    }  # fmt: skip


def spool(folder: Path, results: int) -> dict[str, float]:
    """Time the trial's line as the tracker writes it, curve and all."""
    line = {"do": "trial", "params": dict(record(0).params), "metrics": record(0).measures, "curve": record(0).curve * 10}
    file = Spool(folder / "spool" / "tracking.spool")
    before_s = time.perf_counter()
    for number in range(results):
        file.append({**line, "trial": number})
    elapsed_s = time.perf_counter() - before_s
    return {"results": results, "elapsed_s": elapsed_s, "results_a_minute": 60 * results / elapsed_s}


def main() -> None:
    parser = smoke.Parser(__doc__, seconds=1.0, results=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--uri", help="by default a SQLite store of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        uri = options.uri or f"sqlite:///{folder / 'mlflow.db'}"
        print(json.dumps({"cost": cost(uri, options.seconds, folder), "spool": spool(folder, options.results)}, indent=2))


if __name__ == "__main__":
    main()
