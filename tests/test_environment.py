from __future__ import annotations

import os

import pytest

from tutelage import environment


def test_variables_are_as_before_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_HELD", "before")
    monkeypatch.delenv("TUTELAGE_NEW", raising=False)
    with environment.set_to({"TUTELAGE_HELD": "now", "TUTELAGE_NEW": "now"}):
        assert os.environ["TUTELAGE_HELD"] == os.environ["TUTELAGE_NEW"] == "now"
    assert os.environ["TUTELAGE_HELD"] == "before" and "TUTELAGE_NEW" not in os.environ
