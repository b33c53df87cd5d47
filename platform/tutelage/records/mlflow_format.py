"""What MLflow takes: keys, values and numbers made fit for it, and no secret among them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_KEY_CHARS = 250  # these three are MLflow's own (mlflow.utils.validation); beyond them it refuses, or cuts with a warning


MAX_PARAM_CHARS = 6000


MAX_TAG_CHARS = 8000


METRICS = {  # a measure's name in MLflow; MLflow draws a section per prefix
    "accuracy": "quality/accuracy",
    "confirmed_accuracy": "quality/confirmed_accuracy",
    "confirmed_low": "quality/confirmed_low",
    "confirmed_high": "quality/confirmed_high",
    "confirmed_seeds": "quality/confirmed_seeds",
    "agreement": "quality/agreement",
    "teacher_kl_nats": "quality/teacher_kl_nats",
    "params": "size/params",
    "nonzero_params": "size/nonzero_params",
    "size_bytes": "size/bytes",
    "macs": "cost/macs",
    "latency_ms": "cost/latency_ms",
    "latency_p90_ms": "cost/latency_p90_ms",
}


LOG10 = {"params": "size/log10_params", "macs": "cost/log10_macs"}  # MLflow's scatter charts have no log axis


_FOREIGN = re.compile(r"[^A-Za-z0-9_\-. :/]")


_USER = re.compile(r"(://)[^/@\s\"']+@")


_SECRET = re.compile(r"((?:password|passwd|pwd|secret|token|api_?key|signature|sig)=)[^&\s\"']+", re.IGNORECASE)


def redact(text: str) -> str:
    """Return a text without the users, passwords and keys of the URIs in it."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1***@", text))


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
    texts = {fit_key(name): redact(str(value)) for name, value in values.items()}
    return {key: text if len(text) <= max_chars else f"{text[: max_chars - 1]}…" for key, text in texts.items()}


def fit_measures(measures: Mapping[str, float]) -> dict[str, float]:
    """Return final measures under MLflow's names, with a log10 where its charts lack that axis; no NaN, no infinity."""
    values = {METRICS[name]: float(value) for name, value in measures.items() if name in METRICS}
    values |= {key: math.log10(measures[name]) for name, key in LOG10.items() if measures.get(name, 0) > 0}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def fit_curve(rows: Sequence[Mapping[str, float]]) -> list[tuple[str, float, int]]:
    """Return a training's curve as (key, value, epoch); no NaN, no infinity."""
    return [
        (f"train/{name}", float(row[name]), int(row["epoch"]))
        for row in rows
        for name in ("train_loss", "accuracy")
        if math.isfinite(row.get(name, math.nan))
    ]
