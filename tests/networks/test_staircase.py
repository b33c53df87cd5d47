"""The step of widths, from times that are known, and one measurement that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.networks import staircase
from tutelage.storage.local import LocalStorage


def times(slower_off: int, factor: float = 1.4) -> dict[int, float]:
    """Return times proportional to multiply–accumulates, longer by `factor` off multiples of `slower_off`."""
    return {width: width**2 * (factor if width % slower_off else 1.0) for width in staircase.WIDTHS}


def test_the_step_is_the_one_whose_multiples_are_faster() -> None:
    assert staircase.step_of(times(8)) == 8
    assert staircase.step_of(times(4)) == 4
    assert staircase.step_of(times(1)) == 1
    assert staircase.step_of(times(8, factor=1.05)) == 1, "narrower layers are faster all the same"


def test_a_machine_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staircase, "measured", lambda: times(8))
    machines = LocalStorage(tmp_path / "machines")
    first = staircase.kept(machines)
    monkeypatch.setattr(staircase, "measured", lambda: pytest.fail("measured again"))
    assert staircase.kept(machines) == first and first["step"] == 8
    monkeypatch.setattr(staircase, "_cpu", lambda: "another processor")
    with pytest.raises(pytest.fail.Exception):
        staircase.kept(machines)


@pytest.mark.slow
def test_networks_of_all_widths_are_measured_in_turn() -> None:
    found = staircase.measured(widths=(2, 3), side_px=4)
    assert set(found) == {2, 3} and all(ms > 0 for ms in found.values())
