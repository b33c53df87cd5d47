"""A sweep's page, written from what is on record of it."""

from __future__ import annotations

from pathlib import Path

import torch

from tutelage import report_page
from tutelage.errors import WorkFailed
from tutelage.pipeline import candidates
from tutelage.store import SweepDir


def write_report(home: SweepDir) -> Path:
    """Write the sweep's page, with its latest selection if there is one, and return where it is."""
    records = home.records()
    if not records:
        raise WorkFailed(f"sweep '{home.name}' has no trial yet; a report needs at least one.")
    path, facts = home.root / "report.html", home.facts()
    report_page.write(
        path,
        name=home.name,
        spec_yaml=home.spec_path.read_text(encoding="utf-8"),
        objectives=home.objectives(),
        records=records,
        candidates=candidates(home),
        teacher=facts["teacher"],
        selection=home.selection(),
        environment=environment(),
        elapsed_s=facts.get("elapsed_s", 0.0),
        search_s=facts.get("search_s"),
    )
    return path


def environment() -> dict[str, str]:
    """Return versions and hardware that the numbers of a sweep were measured with."""
    import os
    import platform
    from importlib.metadata import version

    versions = {package: version(package) for package in ("tutelage", "torch", "ray", "optuna", "mlflow")}
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {**versions, "python": platform.python_version(), "cpus": str(os.cpu_count()), "gpu": gpu}
