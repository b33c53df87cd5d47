from __future__ import annotations

import subprocess
import sys

from tutelage import rare_collections
from tutelage.training import spare_processes


def test_the_command_line_and_the_processes_of_trials_collect_garbage_rarely() -> None:
    code = (
        "import gc; import tutelage; before = gc.get_threshold()[0]; import tutelage.cli; print(before, gc.get_threshold()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < after == rare_collections.THRESHOLD, "a library leaves its user's process alone"
    assert spare_processes.MODULES[0] == rare_collections.__name__, "before anything else is imported"
