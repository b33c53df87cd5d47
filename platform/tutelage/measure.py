"""A measure: one number about a network, with all that the rest of the package must know to search, compare and show it."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import InputError

_NAME = re.compile(r"[a-z][a-z0-9_]*")

Array = NDArray[np.float64]
Direction = Literal["maximise", "minimise"]
Available = Literal["before_training", "each_epoch", "at_end", "on_device"]
Spread = Literal["share", "mean", "corpus"]

SMALLEST = 1e-3  # added to an error, and the least size, on a logarithmic scale


def identity(value: float) -> float:
    """Return the value itself: equal steps are equal gains already."""
    return value


def log10(value: float) -> float:
    """Return the decimal logarithm, for what spans decades; values below a thousandth count as that."""
    return float(np.log10(max(value, SMALLEST)))  # as arrays have it, to the last digit


def neg_log10_error(share: float) -> float:
    """Return minus the decimal logarithm of 1 - `share`, raised by a thousandth: halving the error is one equal step."""
    return -math.log10(1.0 - share + SMALLEST)


def mean(contributions: Array) -> float:
    """Return the mean of what each example contributes, `[n, 1]`."""
    return float(np.asarray(contributions, dtype=np.float64).mean())


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measured number; objectives, limits, tables, cards, charts, MLflow keys and intervals derive from it.

    `name` is the key in specs, records and tables, in snake_case with its unit; `label` names it on axes and in tables.
    `low` and `high` bound its possible values. `scale` maps a value to a number on which equal steps are equal gains; it grows
    with the value. `reference` is the worst value for the hypervolume, None for the teacher's own value. `available` is when a
    student's value is known. `spread` is how its confidence interval is computed: Wilson's for a share of independent examples,
    a bootstrap over examples for a mean or a corpus measure, none for None.

    `format` is Python's for a value; a `detail` is left out of short tables unless it is an objective.

    `aggregate` returns the value from what each example contributed, `[n, k]`. A measure of the outputs that its task does not
    evaluate brings `of_outputs`: (label sequences by name, batch) → contributions `[batch, k]`, None where a task has no such
    measure; a measure of the network brings `of_network`: (network in evaluation mode, a batch of one example) → value.
    """

    name: str
    label: str
    unit: str
    direction: Direction
    meaning: str
    low: float | None = None
    high: float | None = None
    scale: Callable[[float], float] = identity
    reference: float | None = None
    available: Available = "at_end"
    spread: Spread | None = None
    aggregate: Callable[[Array], float] = mean
    of_outputs: Callable[[Any, Any], Any] | None = None
    of_network: Callable[[Any, Any], float] | None = None
    format: str = ".4f"
    detail: bool = False
    mlflow_key: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"measure {self.name!r}: a name has lower-case letters, digits and underscores, as latency_ms.")
        if not self.mlflow_key:
            object.__setattr__(self, "mlflow_key", f"quality/{self.name}")

    @property
    def sign(self) -> float:
        """1 where lower is better, -1 where higher is: value times sign is a loss."""
        return -1.0 if self.direction == "maximise" else 1.0

    @property
    def is_cost(self) -> bool:
        """Whether it is what a network costs, such as a size or a latency, and not how well it does."""
        return self.spread is None and self.direction == "minimise" and self.available != "each_epoch"

    @property
    def log_key(self) -> str | None:
        """The MLflow key of the value's logarithm, where charts need one: MLflow's have no logarithmic axis."""
        section, _, name = self.mlflow_key.partition("/")
        return f"{section}/log10_{name}" if self.has_log_axis and self.available == "before_training" else None

    @property
    def has_log_axis(self) -> bool:
        """Whether charts give it a logarithmic axis."""
        return self.scale is log10

    def is_better(self, value: float, other: float) -> bool:
        """Return whether `value` is strictly better than `other`."""
        return self.sign * value < self.sign * other

    def error(self, value: float) -> float:
        """Return how far a value is from the best, lower is better: the value, or `high` less it where higher is better."""
        return value if self.direction == "minimise" else (0.0 if self.high is None else self.high) - value

    def value_of(self, error: float) -> float:
        """Return the value with this error: the inverse of `error`."""
        return error if self.direction == "minimise" else (0.0 if self.high is None else self.high) - error

    def even_loss(self, value: float) -> float:
        """Return the value on its even scale, lower is better."""
        return self.sign * self.scale(value)

    def text(self, value: float) -> str:
        """Return a value as text, without its unit."""
        return f"{value:{self.format}}"

    def interval_text(self, interval: Sequence[float] | None) -> str:
        """Return the ends of an interval as text, "" where there is none."""
        return "" if interval is None else f"{self.text(interval[0])} to {self.text(interval[1])}"

    def text_with_unit(self, value: float) -> str:
        """Return a value as text; a share has no unit."""
        return self.text(value) if self.unit == "share" else f"{self.text(value)} {self.unit}"

    def difference_text(self, difference: float) -> str:
        """Return a signed difference of two values as text: of shares in points, hundredths of the whole."""
        return f"{self.difference_number(difference)} {self.difference_unit}"

    def difference_number(self, difference: float) -> str:
        """Return a signed difference as `difference_text` does, without its unit."""
        return f"{100 * difference:+.2f}" if self.unit == "share" else f"{difference:+{self.format}}"

    def spread_text(self, mean: float, deviation: float) -> str:
        """Return a signed mean difference and its standard deviation as text."""
        return f"{self.difference_number(mean)} ± {self.difference_number(deviation).lstrip('+')} {self.difference_unit}"

    @property
    def difference_unit(self) -> str:
        """The unit of a difference of two values: points for shares."""
        return "points" if self.unit == "share" else self.unit

    def document(self) -> dict[str, Any]:
        """Return the measure as JSON values, functions as `module:name`; `InputError` for a function that has no such name."""
        return {field.name: _written(self.name, getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Measure:
        """Return the measure that `document` gave; its functions are imported."""
        functions = {name: _imported(document[name]) for name in _FUNCTIONS if document.get(name) is not None}
        return cls(**{**document, **functions})


def standard_error_of(measure: Measure) -> str:
    """Return the name under which an epoch's row has the standard error of a measure that is no share."""
    return f"{measure.name}_se"


_FUNCTIONS = ("scale", "aggregate", "of_outputs", "of_network")


def _written(measure: str, value: Any) -> Any:
    if not callable(value):
        return value
    module, name = value.__module__, value.__qualname__
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"measure '{measure}': {name} of {module} cannot be imported by its name. Define it in the module.")
    return f"{module}:{name}"


def _imported(reference: str) -> Any:
    module, _, name = reference.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
