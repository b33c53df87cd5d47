"""One trial as it stands in the ledger."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["running", "paused", "finished", "stopped", "failed", "infeasible"]


OPEN = ("running", "paused")  # states of a trial that has not ended


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One student under the search, from suggestion to its last measure.

    `number` is the order of suggestion from 0; `params` holds only the searched values that are active; `config` is the
    whole resolved `student`, `distillation` and `sparsity`; `identity` is the content address of all that its training
    depends on; `origin` says what proposed it, and `notes` are the sampler's own; `sizes` were known before training; `curve`
    has one row an epoch; the `_s` fields are seconds.
    """

    number: int
    trial_id: str
    state: State
    params: dict[str, str | int | float | bool]
    config: dict[str, Any]
    measures: dict[str, float]
    curve: tuple[dict[str, float], ...] = ()
    identity: str = ""
    origin: str = "sampler"
    notes: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    error: str = ""
    started_s: float = 0.0
    elapsed_s: float = 0.0
    step_s: float = 0.0

    def rows_at(self, epochs: Collection[int]) -> list[dict[str, float]]:
        """Return the curve's rows after these epochs."""
        return [row for row in self.curve if row["epoch"] in epochs]

    def to_json(self) -> str:
        """Return the record as one line of strict JSON."""
        return json.dumps(asdict(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> TrialRecord:
        """Read back what `to_json` wrote."""
        fields = json.loads(line)
        return cls(**{**fields, "curve": tuple(fields["curve"])})
