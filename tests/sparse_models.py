"""Which networks a sparsity method can make smaller, and the options that it needs, as its own tests say.

`MODELS` of `tests/sparsity/test_<method>.py` lists the networks (all that take images, if it is not there), `OPTIONS` has the
options that have no default.
"""

from __future__ import annotations

from typing import Any

from tests import own_tests
from tests.plain import models_for, plain_signature

RECURRENT, ENCODER = "tests.odd_networks:Recurrent", "tests.odd_networks:Encoder"


def options(method: str) -> dict[str, Any]:
    """Return the options that a sparsity method needs."""
    found: dict[str, Any] = own_tests.part("sparsity", method, "OPTIONS", {})
    return found


def fitting(method: str) -> list[Any]:
    """Return the models that a sparsity method can make smaller."""
    found: list[Any] = own_tests.part("sparsity", method, "MODELS", models_for(plain_signature()))
    return found


def small(method: str, otherwise: Any) -> Any:
    """Return a model that the method can make smaller: `otherwise`, unless it needs another one."""
    return own_tests.part("sparsity", method, "MODELS", [otherwise])[0]
