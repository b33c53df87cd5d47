"""How a sweep's driver ends, whatever ends it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from tutelage.errors import WorkFailed
from tutelage.records import sweep_dir
from tutelage.records.dispatcher import Dispatcher
from tutelage.records.observer import Event, SweepEnded
from tutelage.sweep.ending import ending


@pytest.mark.parametrize(
    ("error", "state"), [(None, "finished"), (KeyboardInterrupt(), "stopped"), (WorkFailed("no teacher"), "failed")]
)
def test_how_a_sweep_ended_is_recorded(error: BaseException | None, state: str, tmp_path: Path) -> None:
    home = sweep_dir.create(tmp_path, "mine", "")
    home.update(elapsed_s=100.0)
    events: list[Event] = []
    dispatcher = Dispatcher()
    dispatcher.attach(events.append)
    with pytest.raises(type(error)) if error else nullcontext(), ending(home, dispatcher):
        if error is not None:
            raise error
    facts = home.facts()
    assert facts["state"] == state and 100.0 <= facts["elapsed_s"] < 110.0
    (ended,) = events
    assert isinstance(ended, SweepEnded) and ended.state == state
