"""The facts of a sweep, as the fold of its events, with several writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tutelage.records import sweep_dir, sweeps
from tutelage.records.sweeps import sweep_at

WRITER = """
import sys
from pathlib import Path
from tutelage.records.sweeps import sweep_at
home = sweep_at(sys.argv[1], "two")
for n in range(100):
    evaluation = {"by": sys.argv[2], "subjects": {"student": str(n)}}
    home.update(**{f"{sys.argv[2]}{n}": n}, last=sys.argv[2], test_evaluations=evaluation)
"""


def test_two_writers_of_a_hundred_facts_each_lose_none(tmp_path: Path) -> None:
    home = sweeps.create(tmp_path, "two", "")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    facts = home.facts()
    assert sum(name[0] in "ab" and name[1:].isdigit() for name in facts) == 200
    assert sweep_dir.test_evaluations(home) == {"evaluations": 200, "students": 100}


def test_the_latest_value_counts_and_lists_and_mappings_grow(tmp_path: Path) -> None:
    home = sweep_at(tmp_path, "one")
    assert home.facts() == {} and not home.has_started()
    home.update(state="running", run_ids={"t0000": "a"}, test_evaluations=1)
    home.update(state="finished", run_ids={"t0001": "b"}, test_evaluations=2, error=None)
    assert home.facts() == {
        "state": "finished", "run_ids": {"t0000": "a", "t0001": "b"}, "test_evaluations": [1, 2], "error": None,
    }  # fmt: skip
    assert home.has_started()
