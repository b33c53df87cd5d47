"""A test of `make test-fast` that takes seconds fails; a test with a mark may take them."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests import conftest


def run(seconds: float, *marks: str) -> Any:
    """Return the result 7 of a test that takes so long, or raise what the check raises."""
    item = SimpleNamespace(keywords=dict.fromkeys(marks), config=SimpleNamespace(rootpath=Path("nowhere")))
    with mock.patch.object(time, "thread_time", side_effect=[100.0, 100.0 + seconds]):
        call = conftest.pytest_runtest_call(item)  # type: ignore[arg-type]
        next(call)
        with pytest.raises(StopIteration) as ended:
            call.send(7)
    return ended.value.value


def test_a_test_that_takes_seconds_must_be_marked() -> None:
    assert run(4.9) == run(60.0, "slow") == run(60.0, "ray") == 7
    with pytest.raises(pytest.fail.Exception, match=r"it took 5\.1 s .* mark `slow`"):
        run(5.1)
