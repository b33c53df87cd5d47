"""How long a sweep takes to start: seconds to the cluster, the teacher, the knowledge and the first student.

    python tests/benchmarks/start.py [--json] [--runs 3]

Each run is a sweep of digits with small networks, in a process and on a cluster of its own, so that nearly all of a phase is
its start. The teacher's and the knowledge's phase end when the next one starts; the search's ends with its first student.
Each figure is the least of the runs: whatever else the machine does only adds to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import machine, smoke

SPEC: dict[str, Any] = {
    "name": "start", "data": "digits", "teacher": {"model": "mlp", "epochs": 1, "accept_weak": True},
    "student": {"model": "mlp", "epochs": 1}, "distillation": {"temperature": {"float": [1, 8]}}, "search": {"trials": 4},
}  # fmt: skip
STAGES = {  # how the text of a stage begins that starts a phase
    "starting Ray": "cluster",
    "training the teacher": "teacher",
    "computing the teacher's knowledge": "knowledge",
    "searching": "search",
}


class Phases:
    """An observer that keeps when each phase started."""

    def __init__(self) -> None:
        self.started_s: dict[str, float] = {}

    def __call__(self, event: Any) -> None:
        from tutelage.records.observer import StageStarted, SweepStarted, TrialEnded

        if isinstance(event, StageStarted):
            names = [name for beginning, name in STAGES.items() if event.text.startswith(beginning)]
        else:
            names = ["records"] if isinstance(event, SweepStarted) else ["students"] if isinstance(event, TrialEnded) else []
        for name in names:
            self.started_s.setdefault(name, event.unix_time_s)


def measured() -> dict[str, float]:
    """Run one sweep here and return the seconds of each phase; on a cluster that is there already, `cluster` is left out."""
    started_s = time.time()
    from tutelage.spec import loading
    from tutelage.sweep import pipeline

    phases = Phases()
    phases.started_s["imports"] = started_s
    with tempfile.TemporaryDirectory() as storage:
        spec = loading.from_dict({**SPEC, "storage": storage})
        phases.started_s["data and MLflow"] = time.time()
        pipeline.sweep(spec, observers=[phases])
    ordered = sorted(phases.started_s.items(), key=lambda item: item[1])
    return {name: end_s - start_s for (name, start_s), (_, end_s) in pairwise(ordered)}


def in_a_process() -> dict[str, float]:
    """Run one sweep in a process of its own and return the seconds of each phase."""
    done = subprocess.run([sys.executable, __file__, "--one"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = smoke.Parser(__doc__, runs=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured()))
        return
    runs = [measured() if smoke.is_shared() else in_a_process() for _ in range(options.runs)]
    rows = [{"phase": name, "seconds": min(run[name] for run in runs)} for name in runs[0]]
    machine.show(f"The start of a sweep, least of {options.runs}", rows, as_json=options.json)


if __name__ == "__main__":
    main()
