"""One self-contained page for a whole sweep: front, teaching's gain, selection, failures, how it was measured."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import WorkFailed
from tutelage.files import write_atomically
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records import fronts
from tutelage.records.fronts import candidates
from tutelage.records.lineage import environment
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord
from tutelage.report import figures, importance, tables

if TYPE_CHECKING:
    import plotly.graph_objects as go

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


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep's page is made of.

    `candidates` are those of `records` that the front is drawn from; `measures` are what was measured by name, the primary one
    first; `selection` is the document of `tutelage select --json`, if there was one; of `elapsed_s`, `search_s` went into the
    search.
    """

    name: str
    spec_yaml: str
    objectives: Sequence[Objective]
    measures: Mapping[str, Measure]
    records: Sequence[TrialRecord]
    candidates: Sequence[TrialRecord]
    teacher: Mapping[str, Any]
    selection: Mapping[str, Any] | None
    environment: Mapping[str, str]
    elapsed_s: float
    search_s: float | None = None

    @property
    def primary(self) -> Measure:
        """The primary measure of the sweep's task."""
        return next(iter(self.measures.values()))


def write(path: Path, sweep: Sweep) -> None:
    """Write the page, atomically."""
    parts = [
        _front(sweep),
        _teaching(sweep),
        _selection(sweep.selection),
        _what_mattered(sweep.records, sweep.objectives),
        _cost(sweep.records, sweep.elapsed_s, sweep.search_s),
        _stopped(sweep.records, sweep.primary),
        _left_out(sweep.records),
        "<h2>What each number means, and how it was measured</h2>" + table(("measure", "meaning"), _meanings(sweep), "text"),
        "<h2>Where it was measured</h2>" + table(("", ""), sweep.environment.items(), "text"),
        f"<h2>Spec as resolved</h2><pre>{_text(sweep.spec_yaml)}</pre>",
    ]
    head = f"<h1>{_text(sweep.name)}</h1>" + _facts(_headline(sweep))
    write_atomically(path, page(sweep.name, head, parts))


def _meanings(sweep: Sweep) -> list[tuple[str, str]]:
    """Return name and meaning of every measure that some student has, and what the test split's value rests on."""
    reported = {name for record in sweep.records for name in record.measures}
    rows = [(name, measure.meaning) for name, measure in sweep.measures.items() if name in reported]
    how = {"share": "95 % Wilson interval", "mean": "95 % bootstrap interval over examples"}
    kind = how.get(
        sweep.primary.spread or "", "95 % bootstrap interval over examples" if sweep.primary.spread else "no interval"
    )
    return [*rows, (f"test {sweep.primary.name}", f"the same on the test split, evaluated after selection; {kind}")]


def page(title: str, head: str, sections: Sequence[str]) -> str:
    """Return a page that needs no network: `head`, then every section that has something to say."""
    body = "".join(f"<section>{section}</section>" for section in sections if section)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style><main>{head}{body}</main></html>"
    )


def _headline(sweep: Sweep) -> dict[str, Any]:
    members = fronts.front_of(sweep.candidates, sweep.objectives)
    states, primary = Counter(record.state for record in sweep.records), sweep.primary
    return {
        f"teacher's {primary.label}": primary.text_with_unit(sweep.teacher[primary.name]),
        "teacher's parameters": sweep.teacher["params"],
        "students on the front": len(members),
        "hypervolume": f"{fronts.hypervolume_of(members, sweep.objectives):,.6g}",
        **{f"trials {state}": count for state, count in sorted(states.items())},
        "minutes": f"{sweep.elapsed_s / 60:.1f}",
    }


def _front(sweep: Sweep) -> str:
    figure = figures.front_figure(sweep.candidates, sweep.objectives, sweep.teacher, sweep.primary)
    if baseline := baseline_of(sweep.selection):
        figures.add_baseline(figure, sweep.objectives, sweep.candidates, baseline)
    members = tables.front_table(sweep.candidates, sweep.objectives)
    against = ", ".join(f"{o.name} {o.reference:,g}" for o in sweep.objectives)
    return (
        f'<h2>The front</h2><div class="plot">{moving(figure)}</div>'
        + table(list(members.columns), members.itertuples(index=False))
        + f'<p class="quiet">Hypervolume is measured against {_text(against)}.</p>'
        + _regression(sweep)
    )


def moving(figure: go.Figure) -> str:
    """Return a figure as HTML that carries its own script and fits its column."""
    legend = {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"}
    figure.update_layout(autosize=True, margin={"l": 55, "r": 10, "t": 15, "b": 45}, legend=legend)
    config = {"responsive": True, "displayModeBar": False}
    drawn: str = figure.to_html(include_plotlyjs=True, full_html=False, config=config, default_width="100%")
    return drawn


def baseline_of(selection: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the selected student's trial, and the name and value of what its label-only baseline has; None without one."""
    value = selection["confirmed"].get("baseline") if selection else None
    if selection is None or value is None:
        return None
    return {"trial": selection["student"]["trial"], "measure": selection["measure"]["name"], "value": value}


def _regression(sweep: Sweep) -> str:
    """Return how the students that were trained again compare with the search: a table, "" without any."""
    primary, rows = sweep.primary, []
    for record in figures.confirmed(sweep.candidates):
        searched, mean = record.measures[primary.name], record.measures["confirmed_mean"]
        ends = [record.measures[name] for name in ("confirmed_low", "confirmed_high") if name in record.measures]
        seeds, change = f"{record.measures['confirmed_seeds']:.0f}", primary.difference_number(mean - searched)
        interval = primary.interval_text(ends or None)
        rows.append((record.trial_id, primary.text(searched), seeds, primary.text(mean), interval, change))
    if not rows:
        return ""
    note = (
        "The best of many on one validation split is overestimated; trained again with seeds that no search has used, it "
        f"regresses to the mean. The interval holds the {primary.label} of one such student on all examples of the kind, with "
        "95 % confidence: it allows for seeds and for the size of the validation split."
    )
    change = f"change, {primary.difference_unit}"
    head = ("trial", f"{primary.label} in the search", "fresh seeds", "mean over them", "95 % interval", change)
    return "<h3>With fresh seeds</h3>" + table(head, rows) + f'<p class="quiet">{_text(note)}</p>'


def _teaching(sweep: Sweep) -> str:
    selection, primary = sweep.selection, sweep.primary
    if selection is None:
        return "<h2>Does the teacher help?</h2><p>No student has been selected yet: run <code>tutelage select</code>.</p>"
    confirmed, test = selection["confirmed"], selection["test"]
    rows = [
        (who, _spread(confirmed.get(key), primary), _interval(score, primary))
        for who, key, score in (
            ("student, taught", "taught", test),
            ("label-only baseline", "labels_only", test["labels_only"]),
            ("teacher", "", test["teacher"]),
        )
        if score is not None
    ]
    head = ("", f"validation, mean ± sd of {confirmed['seeds']} fresh seeds", "test, 95 % interval")
    remarks = [
        selection["regression"],
        selection["teaching"],
        _other_measures(selection["other_measures"], sweep.measures),
        selection["capacity_gap"],
        selection["transfer"],
    ]
    shown = "".join(f"<p>{_text(remark)}</p>" for remark in remarks if remark)
    return "<h2>Does the teacher help?</h2>" + shown + table(head, rows)


def _other_measures(values: Mapping[str, float], measures: Mapping[str, Measure]) -> str:
    named = [(measures[name], value) for name, value in values.items() if name in measures]
    listed = "; ".join(f"{measure.label} {measure.text_with_unit(value)}" for measure, value in named)
    return f"On validation: {listed}." if listed else ""


def _spread(spread: Mapping[str, Any] | None, primary: Measure) -> str:
    if not spread:
        return ""
    return primary.text(spread["mean"]) + (f" ± {primary.text(spread['sd'])}" if spread["sd"] is not None else "")


def _interval(score: Mapping[str, Any], primary: Measure) -> str:
    within = f"{primary.interval_text(score['interval'])}, " if score["interval"] else ""
    return f"{primary.text(score['value'])} ({within}n = {score['n']})"


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
    rows.append(("evaluations on the test split", f"{test['evaluations']}, for {test['students']} students"))
    remarks = [selection["reason"], selection["test_warning"]]
    return (
        "<h2>The selected student</h2>"
        + "".join(f"<p>{_text(one)}</p>" for one in remarks if one)
        + table(("", ""), rows, "text")
    )


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
            else "<p>No parameter explains enough of it.</p>"
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


def _stopped(records: Sequence[TrialRecord], primary: Measure) -> str:
    stopped = [record for record in records if record.state == "stopped"]
    if not stopped:
        return ""
    spared = sum(record.config["student"]["epochs"] - len(record.curve) for record in stopped)
    rows = [
        (r.trial_id, f"{len(r.curve)} of {r.config['student']['epochs']}", _last_value(r, primary), _flat(r.params))
        for r in stopped[:STOPPED_SHOWN]
    ]
    more = f"<p>… and {len(stopped) - STOPPED_SHOWN} more.</p>" if len(stopped) > STOPPED_SHOWN else ""
    return (
        f"<h2>Stopped early</h2><p>{len(stopped)} students were stopped by the rule under <code>search.stopping</code>, when "
        f"others had got further by the same epoch; that spared {spared:,} epochs.</p>"
        + table(("trial", "epochs", f"{primary.label} then", "searched values"), rows, "text")
        + more
    )


def _last_value(record: TrialRecord, primary: Measure) -> str:
    value = record.curve[-1].get(primary.name) if record.curve else None
    return "" if value is None else primary.text(value)


def _last_line(record: TrialRecord) -> str:
    return record.error.strip().splitlines()[-1] if record.error.strip() else ""


def write_report(home: SweepDir) -> Path:
    """Write the sweep's page, with its latest selection if there is one, and return where it is."""
    records = home.records()
    if not records:
        raise WorkFailed(f"sweep '{home.name}' has no trial yet; a report needs at least one.")
    path, facts = home.root / "report.html", home.facts()
    sweep = Sweep(
        name=home.name, spec_yaml=home.spec_text(), objectives=home.objectives(),
        measures=home.measures(), records=records, candidates=candidates(home), teacher=facts["teacher"],
        selection=home.selection(), environment=environment(), elapsed_s=facts.get("elapsed_s", 0.0),
        search_s=facts.get("search_s"),
    )  # fmt: skip
    write(path, sweep)
    return path
