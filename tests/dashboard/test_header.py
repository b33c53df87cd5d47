"""What a snapshot says of the sweep as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage import plugins
from tutelage.dashboard.header import SCALES, described

PAGE = Path(__file__).parents[2] / "dashboards" / "explorer" / "src"


@pytest.mark.parametrize("name", sorted({"accuracy", *plugins.names("measures")}))
def test_the_page_is_told_the_scale_of_every_measure(name: str) -> None:
    assert described(plugins.measure(name))["scale"] in SCALES


@pytest.mark.parametrize("scale", SCALES)
def test_the_page_knows_every_scale_that_it_is_told(scale: str) -> None:
    for file in ("data/snapshot.ts", "data/parse.ts"):
        assert f"'{scale}'" in (PAGE / file).read_text()
