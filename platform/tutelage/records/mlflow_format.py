"""What MLflow takes: keys, values and numbers made fit for it, and no secret among them."""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.measure import Measure
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redact, redacted

MAX_KEY_CHARS = 250  # these three are MLflow's own (mlflow.utils.validation); beyond them it raises, or cuts with a warning
MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 8000
_FOREIGN = re.compile(r"[^A-Za-z0-9_\-. :/]")


def ui_command(uri: str) -> str:
    """Return the command that opens MLflow's pages on a store, or a server's own address."""
    if uri.startswith(("http://", "https://")):
        return redact(uri)
    return f"mlflow ui --backend-store-uri {shlex.quote(redact(uri))}"


def fit_key(name: str) -> str:
    """Return a name as a key that MLflow takes; a name that is cut keeps a mark of the whole, so that no two become one."""
    key = _FOREIGN.sub("_", name)
    if key == name and len(name) <= MAX_KEY_CHARS:
        return name
    return f"{key[: MAX_KEY_CHARS - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def fit_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as MLflow's params; one that is too long ends in `…`."""
    return _fit(values, MAX_PARAM_CHARS)


def fit_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as MLflow's tags; one that is too long ends in `…`."""
    return _fit(values, MAX_TAG_CHARS)


def _fit(values: Mapping[str, Any], max_chars: int) -> dict[str, str]:
    texts = {fit_key(name): redact(str(value)) for name, value in redacted(values).items()}
    return {key: text if len(text) <= max_chars else f"{text[: max_chars - 1]}…" for key, text in texts.items()}


def fit_measures(measures: Mapping[str, float], known: Mapping[str, Measure]) -> dict[str, float]:
    """Return final measures under MLflow's names, with a log10 where its charts lack that axis; no NaN, no infinity.

    A value that belongs to no `known` measure keeps its name in the section `quality`: none is dropped.
    """
    values = {key_of(name, known): float(value) for name, value in measures.items()}
    logged = {known[name].log_key: value for name, value in measures.items() if name in known and value > 0}
    values |= {key: math.log10(value) for key, value in logged.items() if key}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def key_of(name: str, known: Mapping[str, Measure]) -> str:
    """Return the key of a measured value in MLflow, which draws a section for each prefix."""
    return fit_key(known[name].mlflow_key if name in known else f"quality/{name}")


def fit_certified(step: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a guard's test of one candidate under MLflow's names; what a measure has none of is left out."""
    names = ("n", "drop", "p_value", "disagreements")
    return {f"guard/{name}": float(step[name]) for name in names if step[name] is not None and math.isfinite(step[name])}


NO_MEASURES = ("epoch", "step_s")  # of a curve's row


def fit_curve(rows: Sequence[Mapping[str, float]]) -> list[tuple[str, float, int]]:
    """Return a training's curve as (key, value, epoch), with all that its rows measure; no NaN, no infinity."""
    return [
        (fit_key(f"train/{name}"), float(value), int(row["epoch"]))
        for row in rows
        for name, value in row.items()
        if name not in NO_MEASURES and math.isfinite(value)
    ]


def origin_tags(record: TrialRecord) -> dict[str, str]:
    """Return the tags of one candidate among several: its trial, what was removed from it, how it was made, its rung."""
    if not record.parent:
        return {}
    (own,) = record.candidates
    tags = {"parent_trial": record.parent, "candidate.amount": f"{own.amount:g}", "candidate.made": own.made}
    on_ladder = {"candidate.rung": str(own.rung), "candidate.inherited": str(own.is_inherited).lower()}
    return tags if own.rung is None else {**tags, **on_ladder}
