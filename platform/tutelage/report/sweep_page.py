"""One self-contained page for a whole sweep: front, teaching's gain, selection, failures, how it was measured."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import WorkFailed
from tutelage.files import write_atomically
from tutelage.objectives import Objective
from tutelage.records import fronts
from tutelage.records.fronts import candidates
from tutelage.records.lineage import environment
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, importance, tables

if TYPE_CHECKING:
    import plotly.graph_objects as go

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


STOPPED_SHOWN = 30


STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1c2733;background:#f5f7f9;margin:0}
main{max-width:72rem;margin:0 auto;padding:1.6rem 1rem 3rem}
section{background:#fff;border:1px solid #e1e6eb;border-radius:10px;padding:1rem 1.3rem 1.2rem;margin:1rem 0}
h1{font-size:1.7rem;margin:.2rem 0 .6rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:0 0 .7rem;color:#0b4a73}
h3{font-size:.95rem;margin:1rem 0 .3rem}p{max-width:52rem}.quiet{color:#5c6b78;font-size:.86rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.84rem}.wide{overflow-x:auto;margin:.5rem 0}
th{color:#5c6b78;font-weight:600}th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap}
tr:hover td{background:#f5f9fc}
th:first-child,td:first-child,.text td,.text th{text-align:left}.text td{white-space:normal;overflow-wrap:anywhere}
.text td:first-child{white-space:nowrap}.text td{vertical-align:top}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.7rem;margin:.8rem 0}
.facts div{background:#fff;border:1px solid #e1e6eb;border-radius:10px;padding:.6rem .8rem;color:#5c6b78;font-size:.82rem}
.facts b{display:block;font-size:1.3rem;color:#1c2733;font-variant-numeric:tabular-nums}
.bar{display:grid;grid-template-columns:minmax(7rem,15rem) 1fr 3.2rem;gap:.6rem;align-items:center;font-size:.84rem}
.bar i{display:block;height:.8rem;background:#0072B2;border-radius:3px}.bar span{overflow-wrap:anywhere}
pre{overflow-x:auto;background:#f5f7f9;padding:.8rem;border-radius:6px;font-size:.78rem}.plot{min-width:0}
@media(max-width:600px){section{padding:.8rem .7rem}main{padding:1rem .6rem}.text td:first-child{white-space:normal}
.bar{grid-template-columns:7rem 1fr 2.6rem}}
"""


def _plain(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if value != value else f"{value:,.0f}" if value == round(value) and abs(value) >= 10 else f"{value:.4g}"


def _text(value: Any) -> str:
    return html.escape(_plain(value))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    """Return a table that scrolls where it is too wide; every cell is escaped."""
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
    search_s: float | None = None,
) -> None:
    """Write the page, atomically.

    `candidates` are those of `records` that the front is drawn from; `selection` is the document of
    `tutelage select --json`, if there was one; of `elapsed_s`, `search_s` went into the search.
    """
    parts = [
        _front(objectives, candidates, teacher, selection),
        _teaching(selection),
        _selection(selection),
        _what_mattered(records, objectives),
        _cost(records, elapsed_s, search_s),
        _stopped(records),
        _left_out(records),
        "<h2>What each number means, and how it was measured</h2>" + table(("measure", "meaning"), MEANINGS.items(), "text"),
        "<h2>Where it was measured</h2>" + table(("", ""), environment.items(), "text"),
        f"<h2>Spec as resolved</h2><pre>{_text(spec_yaml)}</pre>",
    ]
    head = f"<h1>{_text(name)}</h1>" + _facts(_headline(objectives, records, candidates, teacher, elapsed_s))
    write_atomically(path, page(name, head, parts))


def page(title: str, head: str, sections: Sequence[str]) -> str:
    """Return a page that needs no network: `head`, then every section that has something to say."""
    body = "".join(f"<section>{section}</section>" for section in sections if section)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style><main>{head}{body}</main></html>"
    )


def _headline(
    objectives: Sequence[Objective], records: Sequence[TrialRecord], candidates: Sequence[TrialRecord],
    teacher: Mapping[str, Any], elapsed_s: float,
) -> dict[str, Any]:  # fmt: skip
    members = fronts.front_of(candidates, objectives)
    states = Counter(record.state for record in records)
    return {
        "teacher's accuracy": f"{teacher['accuracy']:.4f}",
        "teacher's parameters": teacher["params"],
        "students on the front": len(members),
        "hypervolume": f"{fronts.hypervolume_of(members, objectives):,.6g}",
        **{f"trials {state}": count for state, count in sorted(states.items())},
        "minutes": f"{elapsed_s / 60:.1f}",
    }


def _front(
    objectives: Sequence[Objective], records: Sequence[TrialRecord], teacher: Mapping[str, Any],
    selection: Mapping[str, Any] | None,
) -> str:  # fmt: skip
    figure = figures.front_figure(records, objectives, teacher)
    if baseline := baseline_of(selection):
        figures.add_baseline(figure, objectives, records, baseline)
    members = tables.front_table(records, objectives)
    against = ", ".join(f"{o.name} {o.reference:,g}" for o in objectives)
    return (
        f'<h2>The front</h2><div class="plot">{moving(figure)}</div>'
        + table(list(members.columns), members.itertuples(index=False))
        + f'<p class="quiet">Hypervolume is measured against {_text(against)}.</p>'
        + _shrinking(records)
    )


def moving(figure: go.Figure) -> str:
    """Return a figure as HTML that carries its own script and fits its column."""
    legend = {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"}
    figure.update_layout(autosize=True, margin={"l": 55, "r": 10, "t": 15, "b": 45}, legend=legend)
    config = {"responsive": True, "displayModeBar": False}
    drawn: str = figure.to_html(include_plotlyjs=True, full_html=False, config=config, default_width="100%")
    return drawn


def baseline_of(selection: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the selected student's trial and what its label-only baseline has on validation; None where there is none."""
    accuracy = selection["confirmed"].get("twin_accuracy") if selection else None
    return {"trial": selection["student"]["trial"], "accuracy": accuracy} if selection and accuracy is not None else None


def _shrinking(records: Sequence[TrialRecord]) -> str:
    rows = []
    for record in figures.confirmed(records):
        searched, mean = record.measures["accuracy"], record.measures["confirmed_accuracy"]
        ends = [record.measures.get(name) for name in ("confirmed_low", "confirmed_high")]
        interval = " to ".join(f"{end:.4f}" for end in ends if end is not None)
        seeds = f"{record.measures['confirmed_seeds']:.0f}"
        rows.append((record.trial_id, f"{searched:.4f}", seeds, f"{mean:.4f}", interval, f"{100 * (mean - searched):+.2f}"))
    if not rows:
        return ""
    note = (
        "The best of many on one validation split is flattered by luck; trained again with seeds that no search has seen, it "
        "shrinks to what it is worth. The interval holds the accuracy of one such student on all examples of the kind, with "
        "95 % confidence: it allows for seeds and for the size of the validation split."
    )
    head = ("trial", "accuracy in the search", "fresh seeds", "mean over them", "95 % interval", "changed by, points")
    return "<h3>What fresh seeds left of it</h3>" + table(head, rows) + f'<p class="quiet">{note}</p>'


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
    said = [
        selection["luck"],
        selection["teaching"],
        _agreement(selection["agreement"]),
        selection["capacity_gap"],
        selection["transfer"],
    ]
    return "<h2>Is teaching helping?</h2>" + "".join(f"<p>{_text(s)}</p>" for s in said if s) + table(head, rows)


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
        given = f"alias {', '.join(model['aliases'])}" if model["aliases"] else "no alias"
        rows.append(("registered", f"{model['name']} version {model['version']}, {given}. {model['why']}"))
    test = selection["test"]
    rows.append(("times the test split was opened", f"{test['openings']}, for {test['students']} students"))
    said = [selection["reason"], selection["test_warning"]]
    return "<h2>The selected student</h2>" + "".join(f"<p>{_text(s)}</p>" for s in said if s) + table(("", ""), rows, "text")


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
        return ""
    rows = [(r.trial_id, r.state, _last_line(r)) for r in left_out]
    return "<h2>Failed and infeasible trials</h2>" + table(("trial", "state", "why"), rows, "text")


def _what_mattered(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> str:
    title = "<h2>What mattered</h2>"
    found = importance.importances(records, objectives)
    if not found:
        few = f"Importances are shown from {importance.MIN_TRIALS} finished trials on; below that they are noise."
        return f'{title}<p class="quiet">{few}</p>'
    drawn = [
        f"<h3>{_text(one.objective)}</h3>"
        + (
            "".join(_bar(name, share, one) for name, share in one.shares.items())
            if one.shares
            else "<p>Nothing that can be told.</p>"
        )
        + f'<p class="quiet">R² of the forest on held-out trials: {one.r2:.2f}.</p>'
        for one in found
    ]
    note = (
        f"How much worse a random forest over {found[0].num_trials} finished trials predicts held-out ones (fall of R²) when a "
        f"parameter's values are shuffled (Breiman, 2001; {importance.FOLDS} folds, sizes as logarithms). Not shown where R² "
        f"is below {importance.MIN_R2:g}. It holds where the search looked, which is not everywhere alike, and is no proof of "
        "cause; parameters that moved together share their importance."
    )
    return title + "".join(drawn) + f'<p class="quiet">{note}</p>'


def _bar(name: str, share: float, of: importance.Importance) -> str:
    width = 100 * share / (max(of.shares.values()) or 1)
    return f'<div class="bar"><span>{_text(name)}</span><i style="width:{width:.1f}%"></i><span>{share:.2f}</span></div>'


def _cost(records: Sequence[TrialRecord], elapsed_s: float, search_s: float | None) -> str:
    rows: list[tuple[str, str]] = [("whole sweep, s", f"{elapsed_s:,.1f}")] if elapsed_s else []
    if elapsed_s and search_s is not None:
        rows.append(("search, s", f"{search_s:,.1f}"))
        rows.append(("teacher, knowledge, latency and the rest, s", f"{elapsed_s - search_s:,.1f}"))
    trained = [record for record in records if record.elapsed_s > 0]
    if trained:
        seconds = sorted(record.elapsed_s for record in trained)
        spread = f"{seconds[len(seconds) // 2]:,.2f} ({seconds[0]:,.2f} to {seconds[-1]:,.2f})"
        rows.append((f"worker's seconds in {len(trained)} trials that had one", f"{sum(seconds):,.1f}"))
        rows.append(("seconds a trial, median (least to most)", spread))
    rows.append(("epochs of students", f"{sum(len(record.curve) for record in records):,}"))
    return "<h2>What it cost</h2>" + table(("", ""), rows)


def _stopped(records: Sequence[TrialRecord]) -> str:
    stopped = [record for record in records if record.state == "stopped"]
    if not stopped:
        return ""
    spared = sum(record.config["student"]["epochs"] - len(record.curve) for record in stopped)
    rows = [
        (r.trial_id, f"{len(r.curve)} of {r.config['student']['epochs']}", _accuracy_at_end(r), _flat(r.params))
        for r in stopped[:STOPPED_SHOWN]
    ]
    more = f"<p>… and {len(stopped) - STOPPED_SHOWN} more.</p>" if len(stopped) > STOPPED_SHOWN else ""
    return (
        f"<h2>Stopped early</h2><p>{len(stopped)} students were stopped by the rule under <code>search.stopping</code>, when "
        f"others had got further by the same epoch; that spared {spared:,} epochs.</p>"
        + table(("trial", "epochs", "accuracy then", "what it was"), rows, "text")
        + more
    )


def _accuracy_at_end(record: TrialRecord) -> str:
    last = record.curve[-1].get("accuracy") if record.curve else None
    return "" if last is None else f"{last:.4f}"


def _last_line(record: TrialRecord) -> str:
    return record.error.strip().splitlines()[-1] if record.error.strip() else ""


def write_report(home: SweepDir) -> Path:
    """Write the sweep's page, with its latest selection if there is one, and return where it is."""
    records = home.records()
    if not records:
        raise WorkFailed(f"sweep '{home.name}' has no trial yet; a report needs at least one.")
    path, facts = home.root / "report.html", home.facts()
    write(
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
