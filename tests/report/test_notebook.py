"""How a front is written in a notebook."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from tutelage import plugins
from tutelage.report.notebook import _written


@pytest.mark.filterwarnings("error")
def test_a_measure_that_no_student_has_is_an_empty_column() -> None:
    table = pd.DataFrame({"id": ["t0000", "t0001"], "accuracy": [math.nan, math.nan], "params": [1834.0, math.nan]})
    measures = {name: plugins.measure(name) for name in ("accuracy", "params")}
    assert _written(table, measures).to_dict("list") == {
        "id": ["t0000", "t0001"], "accuracy": ["", ""], "params": ["1,834", ""],
    }  # fmt: skip
