"""What processes of tests do with a tracker; it has none of the tests' imports.

`main` is a sweep's driver. It logs the trials 0 to NUM_TRIALS - 1, and started again it goes on as a resumed sweep does: the
run reopened, all logged again. `logged` holds how many trials were handed over.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from tutelage.records.tracker import Tracker
from tutelage.records.trial import TrialRecord

EPOCHS = 5
SEARCHED = ("student.model", "student.model.mlp.hidden", "distillation.temperature")


def record(number: int) -> TrialRecord:
    curve = tuple({"epoch": float(e), "train_loss": 1.0 / e, "accuracy": 0.5 + 0.01 * e} for e in range(1, EPOCHS + 1))
    measures = {"accuracy": 0.5 + 0.001 * number, "params": 100.0 + number, "size_bytes": 400.0, "macs": 99.0}
    return TrialRecord(
        number=number, state="finished",
        params={"student.model": "mlp", "distillation.temperature": 1.0 + number}, config={}, measures=measures, curve=curve,
        started_s=1_700_000_000.0 + number, elapsed_s=0.5,
    )  # fmt: skip


def log(tracker: Tracker, number: int) -> None:
    """Log a trial as the recorder does: the best so far is on the front, and the one before it no longer."""
    tracker.log_trial(record(number), "front", SEARCHED, {"seed": "0"})
    if number:
        tracker.set_labels({f"t{number - 1:04d}": "dominated"})
    tracker.log_front(number + 1, 0.1 * (number + 1), 1)


def main(uri: str, folder: Path, num_trials: int) -> None:
    tracker = Tracker(uri, "faults", folder / "tracking.spool")
    known = folder / "run_id"
    if known.exists():
        tracker.reopen(known.read_text(), resumed=True)
    else:
        run_id = tracker.start_sweep("sweep", {"name": "sweep"}, SEARCHED, {"seed": "0"})
        (folder / "started").write_text("")
        known.write_text(run_id)
    for number in range(num_trials):
        log(tracker, number)
        (folder / "logged").write_text(str(number + 1))
    tracker.finish("FINISHED")
    tracker.close()


def open_together(uri: str, directory: Path, sweep: str, together: Any, found: Any) -> None:
    """Open a store when all processes come to it; put the experiment, the sweep's run and the warnings."""
    os.chdir(directory)  # MLflow makes its folder of artifacts there
    said = list[str]()
    logging.getLogger("tutelage.records.mlflow_store").warning = said.append  # type: ignore[method-assign]
    together.wait()
    tracker = Tracker(uri, "tests")
    run_id = tracker.start_sweep(sweep, {}, [], {})
    tracker.close()
    found.put((tracker.experiment_id, run_id, said))
