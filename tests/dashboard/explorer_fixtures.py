"""What the explorer's own arithmetic must give, from the package's functions.

`python -m tests.dashboard.explorer_fixtures` writes the files.

The page computes fronts, hypervolumes and policies by itself as limits move. Its unit tests read these files, so that page and
package never give two results.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import synthetic_snapshot
from tests.benchmarks.synthetic_snapshot import OBJECTIVES, REFERENCE
from tutelage import pareto, plugins
from tutelage.dashboard.rows import Rows
from tutelage.dashboard.snapshot import assembled
from tutelage.errors import NoStudentFits
from tutelage.objectives import Limits, Objective, losses
from tutelage.records.trial import TrialRecord
from tutelage.selection.query import SelectionQuery

FOLDER = Path(__file__).parents[2] / "dashboards" / "explorer" / "tests" / "fixtures"
LIMITS = {
    "none": Limits(),
    "small": Limits(max={"size_bytes": 200_000.0}),
    "good": Limits(max={"latency_ms": 1.0}, min={"accuracy": 0.8}),
    "impossible": Limits(max={"size_bytes": 2_000.0}, min={"accuracy": 0.99}),
}
POLICIES: tuple[Any, ...] = (
    "best-quality", "min-size", "min-latency", "knee", "hypervolume-contribution", "weighted", "smallest-within",
    {"weighted": {"weights": {"accuracy": 5, "size_bytes": 0.5}}}, {"smallest-within": {"within": 0.05}},
    {"smallest-within": {"within": 0.2, "of": "teacher"}},
)  # fmt: skip


def fronts() -> list[dict[str, Any]]:
    """Return matrices of losses with ties and equal rows, and their fronts, hypervolumes and contributions."""
    draw, found = np.random.default_rng(0), []
    for axes in (2, 3, 4):
        for count, levels in ((0, 9), (1, 9), (12, 3), (60, 6), (200, 1000)):
            matrix = draw.integers(0, levels, (count, axes)).astype(float)
            reference = np.full(axes, 0.8 * levels)
            found.append({
                "losses": matrix.tolist(), "num_objectives": axes, "reference": reference.tolist(),
                "is_on_front": pareto.non_dominated_mask(matrix).tolist(),
                "hypervolume": pareto.hypervolume(matrix, reference),
                "contributions": pareto.hypervolume_contributions(matrix, reference).tolist(),
            })  # fmt: skip
    return found


def selections(objectives: tuple[Objective, ...] = OBJECTIVES, count: int = 150) -> dict[str, Any]:
    """Return a sweep's snapshot, and by limits the front, and by policy the candidate that is selected or the nearest ones."""
    draw = np.random.default_rng(1)
    records = [synthetic_snapshot.record_of(number, draw) for number in range(count)]
    cases = [
        {"limits": _written(limits), "choices": [_choice(records, objectives, limits, policy) for policy in POLICIES],
         "front": _front(records, objectives, limits)}
        for limits in LIMITS.values()
    ]  # fmt: skip
    return {"snapshot": _document(records, objectives), "cases": cases}


def _document(records: list[TrialRecord], objectives: tuple[Objective, ...]) -> dict[str, Any]:
    rows = Rows(["student.model", "student.model.width", "distillation.temperature"])
    for one in records:
        rows.add(one, {one.trial_id: "dominated" if one.state == "finished" else one.state})
    header = synthetic_snapshot._header(len(records))
    header["sweep"]["objectives"] = [objective.name for objective in objectives]
    measures = {name: plugins.measure(name) for name in ("accuracy", *plugins.names("measures"))}
    run_ids = {one.trial_id: f"{one.number:032x}" for one in records}
    document = assembled(header, rows.document(run_ids), measures)
    document["sweep"]["updated_at"] = document["sweep"]["started_at"]
    facts = ("label", "unit", "direction", "scale", "reference")
    measured = {name: {fact: document["measures"][name][fact] for fact in facts} for name in document["values"]}
    return {**document, "revision": "1", "measures": measured}


def _choice(
    records: list[TrialRecord], objectives: tuple[Objective, ...], limits: Limits, policy: Any
) -> dict[str, Any]:  # fmt: skip
    name, options = (policy, {}) if isinstance(policy, str) else next(iter(policy.items()))
    # A reference is the sweep's own there.
    named = tuple(Objective(measure=one.measure, reference=REFERENCE[one.name]) for one in objectives)
    teacher = {"accuracy": 0.97}
    query = SelectionQuery(policy=policy, objectives=named, primary=OBJECTIVES[0].measure, limits=limits, teacher=teacher)
    try:
        return {"policy": name, "options": options, "takes": query.select(records).record.trial_id, "nearest": []}
    except NoStudentFits as none:
        return {"policy": name, "options": options, "takes": None, "nearest": re.findall(r"(t\d+), which has", str(none))}


def _front(records: list[TrialRecord], objectives: tuple[Objective, ...], limits: Limits) -> list[str]:
    fitting = [one for one in records if one.state == "finished" and limits.are_met(one.measures)]
    mask = pareto.non_dominated_mask(losses([one.measures for one in fitting], objectives))
    return sorted(one.trial_id for one, keep in zip(fitting, mask, strict=True) if keep)


def _written(limits: Limits) -> list[dict[str, Any]]:
    most = [{"measure": name, "op": "<=", "value": bound} for name, bound in limits.max.items()]
    return most + [{"measure": name, "op": ">=", "value": bound} for name, bound in limits.min.items()]


def files() -> dict[str, Any]:
    """Return the documents by the names of their files."""
    return {
        "fronts.json": fronts(),
        "selections-two.json": selections(OBJECTIVES[:2]),
        "selections-three.json": selections(),
    }


def text_of(document: Any) -> str:
    """Return a document as its file has it; figures have twelve digits, so that another machine gives the same."""
    return json.dumps(_rounded(document), separators=(",", ":")) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, document in files().items():
        (FOLDER / name).write_text(text_of(document), encoding="utf-8")
