"""One self-contained page for a whole sweep: front, teaching's gain, selection, failures, how it was measured."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage import pareto, report
from tutelage.files import write_atomically
from tutelage.objectives import Objective, losses, reference_losses
from tutelage.record import TrialRecord

MEANINGS = {
    "params": "trainable parameters of the network as deployed: removed channels are gone, not zero",
    "nonzero_params": "of those, the ones that are not exactly zero",
    "size_bytes": "bytes of all parameters and buffers of the exported weights",
    "macs": "multiply–accumulates of matrix and convolution products for one example",
    "latency_ms": "median of one-example inference on one CPU thread of the driver, all candidates taking turns, alone",
    "accuracy": "share right on the validation split; every decision of the search uses only this",
    "test accuracy": "share right on the test split, opened after selection; 95 % Wilson interval",
    "agreement": "share of validation steps where student and teacher have the same top class",
}
STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #8884;padding-bottom:.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.86rem}.wide{overflow-x:auto}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #8883;white-space:nowrap}
th:first-child,td:first-child,.text td,.text th{text-align:left;white-space:normal}
.facts{display:flex;flex-wrap:wrap;gap:1.6rem;margin:1rem 0}.facts b{display:block;font-size:1.35rem}
pre{overflow-x:auto;background:#8881;padding:.8rem;font-size:.8rem}.plot{background:#fff}
"""


def _plain(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if value != value else f"{value:,.0f}" if value == round(value) and abs(value) >= 10 else f"{value:.4g}"


def _text(value: Any) -> str:
    return html.escape(_plain(value))


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{head}</tr>{body}</table></div>'


def _facts(facts: Mapping[str, Any]) -> str:
    return '<div class="facts">' + "".join(f"<div><b>{_text(v)}</b>{_text(k)}</div>" for k, v in facts.items()) + "</div>"


def write(
    path: Path,
    *,
    name: str,
    spec_yaml: str,
    objectives: Sequence[Objective],
    records: Sequence[TrialRecord],
    candidates: Sequence[TrialRecord],
    teacher: Mapping[str, Any],
    selection: Mapping[str, Any] | None,
    environment: Mapping[str, str],
    elapsed_s: float,
) -> None:
    """Write the page, atomically.

    `candidates` are those of `records` that the front is drawn from; `selection` is the document of
    `tutelage select --json`, if there was one.
    """
    parts = [
        f"<h1>{_text(name)}</h1>",
        _facts(_headline(objectives, records, candidates, teacher, elapsed_s)),
        _front(objectives, candidates, teacher),
        _teaching(selection),
        _selection(selection),
        _left_out(records),
        "<h2>What each number means</h2>",
        _table(("measure", "meaning"), MEANINGS.items(), "text"),
        "<h2>Where it was measured</h2>",
        _table(("", ""), environment.items(), "text"),
        "<h2>Spec as resolved</h2>",
        f"<pre>{_text(spec_yaml)}</pre>",
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(name)}</title><style>{STYLE}</style>'
    write_atomically(path, page + "\n".join(parts) + "</html>")


def _headline(
    objectives: Sequence[Objective], records: Sequence[TrialRecord], candidates: Sequence[TrialRecord],
    teacher: Mapping[str, Any], elapsed_s: float,
) -> dict[str, Any]:  # fmt: skip
    members = report.front_of(candidates, objectives)
    volume = pareto.hypervolume(losses([r.measures for r in members], objectives), reference_losses(objectives))
    states = Counter(record.state for record in records)
    return {
        "teacher's accuracy": f"{teacher['accuracy']:.4f}",
        "teacher's parameters": teacher["params"],
        "students on the front": len(members),
        "hypervolume": f"{volume:,.6g}",
        **{f"trials {state}": count for state, count in sorted(states.items())},
        "minutes": f"{elapsed_s / 60:.1f}",
    }


def _front(objectives: Sequence[Objective], records: Sequence[TrialRecord], teacher: Mapping[str, Any]) -> str:
    plot = report.front_figure(records, objectives, teacher).to_html(include_plotlyjs=True, full_html=False)
    table = report.front_table(records, objectives)
    against = ", ".join(f"{o.name} {o.reference:g}" for o in objectives)
    return (
        f'<h2>The front</h2><div class="plot">{plot}</div>'
        + _table(list(table.columns), table.itertuples(index=False))
        + f"<p>Hypervolume is measured against {_text(against)}.</p>"
    )


def _teaching(selection: Mapping[str, Any] | None) -> str:
    if selection is None:
        return "<h2>Is teaching helping?</h2><p>No student has been selected yet: run <code>tutelage select</code>.</p>"
    confirmed, test = selection["confirmed"], selection["test"]
    rows = [
        (who, _spread(confirmed.get(key)), _interval(score))
        for who, key, score in (
            ("student, taught", "taught", test),
            ("same student, labels alone", "labels_only", test["labels_only"]),
            ("teacher", "", test["teacher"]),
        )
        if score is not None
    ]
    head = ("", f"validation, mean ± sd of {confirmed['seeds']} fresh seeds", "test, 95 % interval")
    said = [selection["teaching"], _agreement(selection["agreement"]), selection["capacity_gap"], selection["transfer"]]
    return "<h2>Is teaching helping?</h2>" + "".join(f"<p>{_text(s)}</p>" for s in said if s) + _table(head, rows)


def _agreement(agreement: Mapping[str, float]) -> str:
    return (
        f"On validation it has its teacher's top class for {100 * agreement['agreement']:.1f} % of the examples; "
        f"KL(teacher ‖ student) is {agreement['teacher_kl_nats']:.3f} nats."
    )


def _spread(spread: Mapping[str, Any] | None) -> str:
    if not spread:
        return ""
    return f"{spread['mean']:.4f}" + (f" ± {spread['sd']:.4f}" if spread["sd"] is not None else "")


def _interval(score: Mapping[str, Any]) -> str:
    low, high = score["interval"]
    return f"{score['accuracy']:.4f} ({low:.4f} to {high:.4f}, n = {score['n']})"


def _selection(selection: Mapping[str, Any] | None) -> str:
    if selection is None:
        return ""
    student, runner_up, model = selection["student"], selection["runner_up"], selection["model"]
    rows = [("config", _flat(student["config"])), ("measures", _flat(student["measures"]))]
    if runner_up:
        rows.append(("runner-up", f"{runner_up['trial']}: {_flat(runner_up['measures'])}"))
    if model:
        rows.append(("registered", f"{model['name']} version {model['version']}, alias {model['alias']}"))
    rows.append(("times the test split was opened", selection["test"]["openings"]))
    return f"<h2>The selected student</h2><p>{_text(selection['reason'])}</p>" + _table(("", ""), rows, "text")


def _flat(node: Mapping[str, Any], path: str = "") -> str:
    """Return nested settings as "a.b 1, a.c 2"."""
    parts = []
    for key, value in node.items():
        here = f"{path}.{key}" if path else str(key)
        parts.append(_flat(value, here) if isinstance(value, Mapping) and value else f"{here} {_plain(value)}")
    return ", ".join(parts)


def _left_out(records: Sequence[TrialRecord]) -> str:
    left_out = [r for r in records if r.state in ("failed", "infeasible")]
    if not left_out:
        return "<h2>Failed and infeasible trials</h2><p>None.</p>"
    rows = [(r.trial_id, r.state, r.error.strip().splitlines()[-1] if r.error else "") for r in left_out]
    return "<h2>Failed and infeasible trials</h2>" + _table(("trial", "state", "why"), rows, "text")
