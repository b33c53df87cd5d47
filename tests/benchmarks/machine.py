"""What a figure was measured on, and how a table of figures is printed for people or for machines."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe() -> dict[str, str]:
    """Return the machine and the versions, without its name."""
    cpu = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.machine())
    versions = {package: version(package) for package in ("torch", "ray", "optuna", "mlflow")}
    return {"cpu": cpu, "cores": str(os.cpu_count()), "date": datetime.now(UTC).date().isoformat(), **versions}


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def deviation(values: Sequence[float]) -> float | str:
    """Return the standard deviation of a sample, or "-" of a single value, which has none."""
    return statistics.stdev(values) if len(values) > 1 else "-"


def show(title: str, rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows of one shape as a Markdown table with the machine below it, or as one JSON document."""
    if as_json:
        print(json.dumps({"version": 1, "title": title, "rows": rows, "machine": describe()}, indent=2))
        return
    print(f"\n{title}\n\n{markdown(rows)}")
    print("\n" + ", ".join(f"{key} {value}" for key, value in describe().items()))


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return rows of one shape as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |" for row in rows]
    return "\n".join(lines)
