"""The context that a search gives its stopping rule, for tests."""

from __future__ import annotations

from typing import Any

from tutelage.objectives import objective
from tutelage.search.rules import RuleContext
from tutelage.spec.distributions import parse
from tutelage.spec.space import Space

OBJECTIVES = (objective("params"), objective("accuracy"))


def rule_context(**changes: Any) -> RuleContext:
    """Return the context of a search over parameters and accuracy with rungs after 1, 3 and 9 of 27 epochs."""
    fields: dict[str, Any] = {
        "rungs": (1, 3, 9), "max_epochs": 27, "factor": 3, "objectives": OBJECTIVES, "primary": OBJECTIVES[1].measure,
        "space": Space(parse({"n": {"int": [0, 99]}})), "num_trials": 40, "num_validation": 360, "seed": 0,
    }  # fmt: skip
    return RuleContext(**{**fields, **changes})
