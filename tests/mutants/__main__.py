"""`python -m tests.mutants`: break the package line by line, and see that a test fails for each breakage."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.mutants import mutants, runner

LEAST_KILLED = 0.95


def main() -> int:
    """Run the mutants; return 0 if at least 95 % are killed and none is stale or broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--room", action="append", choices=mutants.rooms(), help="a list in tests/mutants/; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for the tests of one mutant")
    parser.add_argument("--verbose", action="store_true", help="show killed mutants too")
    given = parser.parse_args()
    runner.set_threads()
    counts, started_s = Counter[str](), time.monotonic()
    for result in runner.run(mutants.load(given.room or ()), jobs=given.jobs, timeout_s=given.timeout):
        counts[result.state] += 1
        if result.state != "killed" or given.verbose:
            print(f"{result.state:8}  {result.elapsed_s:5.1f} s  {result.mutant.name}\n          {result.detail}", flush=True)
    total, elapsed_s = sum(counts.values()), time.monotonic() - started_s
    share = counts["killed"] / total
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    print(f"{total} mutants in {elapsed_s:.0f} s: {states}; {100 * share:.1f} % killed")
    return 0 if share >= LEAST_KILLED and not counts["stale"] and not counts["broken"] else 1


if __name__ == "__main__":
    sys.exit(main())
