"""The promotion of a student that a person chose on the page: `tutelage select` for this student, in a process of its own.

The test split is evaluated once, as at every selection, and the student becomes the champion if it is the better one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.dashboard.answers import RequestFailed
from tutelage.errors import InputError
from tutelage.records import sweeps
from tutelage.records.sweep_dir import SweepDir

POLICY = "tutelage.dashboard.by_hand:Chosen"
TIMEOUT_S = 3600.0
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A student, the registered model that it becomes a version of, and whether it becomes champion without a comparison."""

    name: str
    model: str
    force: bool


def wanted(body: bytes) -> Wanted:
    """Return what a request's body asks for; raises `RequestFailed` for another one."""
    try:
        given = json.loads(body)
        found = Wanted(name=given["id"], model=given["model"], force=given.get("force", False))
        assert isinstance(found.name, str) and isinstance(found.model, str) and isinstance(found.force, bool)
        assert found.model and not found.model.startswith("-") and found.model.isprintable()
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError):
        why = 'The body is not {"id": name of a student, "model": name of a registered model, "force": true or false}.'
        raise RequestFailed(400, "This is not a promotion.", why, "Use the page's own dialog.") from None
    return found


def promote(run_id: str, document: Mapping[str, Any], storage: str, wanted: Wanted) -> dict[str, Any]:
    """Promote a student of the sweep of a run; return the registered version, whether it is the champion now, and why.

    `document` is the run's snapshot. It does not say which sweep is meant: whoever may write to MLflow can change it.
    """
    home = _home(run_id, storage)
    if wanted.name not in document["id"]:
        raise RequestFailed(404, f"There is no student {wanted.name!r:.80}.", "The sweep does not have it.", "Reload the page.")
    if not document["is_on_front"][document["id"].index(wanted.name)]:
        why = "Another student is better in one objective and no worse in the others."
        raise RequestFailed(409, f"{wanted.name} is not on the front.", why, "Choose a student of the front.")
    if not _one_at_a_time.acquire(blocking=False):
        raise RequestFailed(409, "Another promotion is at work.", "Each of them uses the whole machine.", "Wait for it.")
    try:
        return _selected(home.name, storage, wanted)
    finally:
        _one_at_a_time.release()


def _home(run_id: str, storage: str) -> SweepDir:
    try:
        home = sweeps.find(storage, run_id)
    except InputError as error:
        raise RequestFailed(409, "The sweep's files are not here.", str(error), "Start the dashboard on its storage.") from None
    return home


def _selected(sweep: str, storage: str, wanted: Wanted) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "tutelage", "select", sweep, "--storage", storage, "--policy", POLICY, "--option",
        f"trial={wanted.name}", "--confirm", "0", "--register", wanted.model, "--json", *(["--force"] if wanted.force else []),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RequestFailed(
            409, "The promotion took too long.", f"It was ended after {TIMEOUT_S:.0f} s.", "Use the command."
        ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        why = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "it said nothing")
        raise RequestFailed(409, f"{wanted.name} was not promoted.", why.removeprefix("error: "), "Mend that and try again.")
    model = json.loads(done.stdout)["model"]
    return {"model": model["name"], "version": model["version"], "promoted": model["promoted"], "why": model["why"]}
