from __future__ import annotations

from pathlib import Path

import pytest

from tests.requirements import VARIABLE, needs


def test_a_missing_program_skips_a_test_but_not_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert needs(None, "browser").mark.args == (True,)
    assert needs("/usr/bin/browser", "browser").mark.args == (False,)
    monkeypatch.setenv(VARIABLE, "1")
    assert needs(None, "browser").mark.args == (False,), "it runs, and fails"
    assert f"{VARIABLE}=1 make test" in (Path(__file__).parents[1] / ".ci" / "run").read_text()
