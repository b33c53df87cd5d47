"""How much a method removes from each layer: options and code for channels, units and heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from torch import nn

from tutelage.errors import InputError
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._by_layer import check, value_for
from tutelage.sparsity._removal import Removal, RemovalConfig
from tutelage.sparsity._sensitivity import Cost, Cut, Order

Share = Annotated[float, Field(ge=0, le=0.95)]


_UNIFORM = "uniform: the same share of every layer; "
_SENSITIVITY = (
    "sensitivity: the share is of the network's `cost`, and layers lose most where the loss grows least for the saved cost, "
    "measured on the guard's decision half of validation, or on training examples without a guard"
)
ALLOCATION = _UNIFORM + _SENSITIVITY  # for methods that do not compare units of different layers
NETWORK_ALLOCATION = f"{_UNIFORM}network: the weakest channels of the network; {_SENSITIVITY}"


class AllocationConfig(RemovalConfig):
    """The share that each layer loses."""

    allocation: Literal["uniform", "network", "sensitivity"] = Field("uniform", description=NETWORK_ALLOCATION)
    cost: Cost = Field("macs", description="the cost of which sparsity.amount is the share, with allocation: sensitivity")
    amounts: dict[str, Share] = Field(
        {},
        description="shares of single layers in place of sparsity.amount, by names or by patterns with * and ?; with "
        "allocation: uniform",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> AllocationConfig:
        if self.amounts and self.allocation != "uniform":
            raise ValueError(
                f"amounts set the share of each layer, and so does allocation: {self.allocation}. Take one of them"
            )
        return self


class Allocated(Removal):
    """Removes units from named groups: the same share of each, its share in `amounts`, or as many as an order gives."""

    def __init__(self, config: AllocationConfig, amount: float, round_to: int = 1) -> None:
        super().__init__(config, amount)
        self.amounts = config.amounts
        self.order = Order(config.cost, round_to) if config.allocation == "sensitivity" else None

    @property
    def allocated(self) -> str:
        """How the shares of layers were chosen, as text for `made`; "" if all layers lose the same share."""
        if self.order is not None:
            return f", shares by sensitivity: {self.order.description}"
        return ", layers with shares of their own" if self.amounts else ""

    def kept(self, model: nn.Module, widths: Mapping[str, int], cut: Cut, calibration: Calibration) -> dict[str, int]:
        """Return the number of units that each group keeps by the order; `widths` are the present numbers."""
        assert self.order is not None
        return self.order.kept(model, widths, cut, self.amount, calibration)

    def share_of(self, *layers: str) -> float:
        """Return the share that a coupled group of layers loses."""
        found = value_for(self.amounts, layers, self.amount)
        assert found is not None
        return found

    def check_amounts(self, groups: list[set[str]]) -> None:
        """Raise `InputError` for `amounts` that name no layer of these groups."""
        check("amounts", self.amounts, groups)

    def for_ladder(self) -> Method:
        """Return the method itself. Raises `InputError` for shares of single layers, which do not grow."""
        if self.amounts:
            raise InputError(
                "its amounts set fixed shares of layers, which do not grow from rung to rung. Leave them out, or take "
                "allocation: sensitivity, by which each rung gives every layer its own share."
            )
        return super().for_ladder()

    def state(self) -> dict[str, Any]:
        """Return the base's state and the order."""
        return {**super().state(), **({"order": self.order.state()} if self.order else {})}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Restore the base's state and the order."""
        if self.order:
            self.order.restore(state["order"])
        return super().restore(model, state)
