"""Which networks a sparsity method can make smaller: all, unless it is listed here."""

from __future__ import annotations

from typing import Any

from tutelage import plugins

RECURRENT, ENCODER = "tests.odd_networks:Recurrent", "tests.odd_networks:Encoder"
ONLY: dict[str, list[Any]] = {"units": [RECURRENT], "heads": ["vit", ENCODER]}

OPTIONS: dict[str, dict[str, Any]] = {  # of methods that have no default
    "composed": {"stages": [{"channels": {"amount": 0.25}}, {"low_rank": {"amount": 0.25}}, "magnitude"]},
}


def options(method: str) -> dict[str, Any]:
    """Return the options that a sparsity method needs."""
    return OPTIONS.get(method, {})


def fitting(method: str) -> list[Any]:
    """Return the models that a sparsity method can make smaller."""
    return ONLY.get(method, plugins.names("models"))


def small(method: str, otherwise: Any) -> Any:
    """Return a model that the method can make smaller: `otherwise`, unless it needs another one."""
    return ONLY[method][0] if method in ONLY else otherwise
