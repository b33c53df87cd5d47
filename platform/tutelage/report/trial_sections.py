"""What the trials say on a sweep's page: what mattered, what it cost, which were stopped, failed or infeasible."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records.trial import TrialRecord, one_a_trial
from tutelage.report import importance, layout
from tutelage.report.selection_sections import flat

STOPPED_SHOWN = 30

_IMPORTANCE = (
    "How much worse a random forest over {num_trials} finished trials predicts held-out ones (fall of R²) when a "
    "parameter's values are shuffled (Breiman, 2001; {folds} folds, sizes as logarithms). Not shown where R² "
    "is below {min_r2:g}. It holds where the search looked, which is not everywhere alike, and is no proof of "
    "cause; parameters that moved together share their importance."
)


def what_mattered(records: Sequence[TrialRecord], objectives: Sequence[Objective]) -> str:
    """Return the section with the importance of each searched parameter for each objective; a trial counts once."""
    found = importance.importances(one_a_trial(records), objectives)
    if not found:
        few = f"Importances are shown from {importance.MIN_TRIALS} finished trials on; below that they are noise."
        return layout.section("What mattered", layout.paragraphs([few], "quiet"))
    note = _IMPORTANCE.format(num_trials=found[0].num_trials, folds=importance.FOLDS, min_r2=importance.MIN_R2)
    return layout.section("What mattered", *map(_bars, found), layout.paragraphs([note], "quiet"))


def _bars(one: importance.Importance) -> str:
    bars = "".join(_bar(name, share, one) for name, share in one.shares.items())
    fit = layout.paragraphs([f"R² of the forest on held-out trials: {one.r2:.2f}."], "quiet")
    return f"<h3>{layout.text(one.objective)}</h3>" + (bars or "<p>No parameter explains enough of it.</p>") + fit


def _bar(name: str, share: float, of: importance.Importance) -> str:
    width = 100 * share / (max(of.shares.values()) or 1)
    return f'<div class="bar"><span>{layout.text(name)}</span><i style="width:{width:.1f}%"></i><span>{share:.2f}</span></div>'


def cost(records: Sequence[TrialRecord], elapsed_s: float, search_s: float | None) -> str:
    """Return the section with the seconds of the sweep and of its trials, and the epochs; a trial counts once."""
    trials = one_a_trial(records)
    rows: list[tuple[str, str]] = [("whole sweep, s", f"{elapsed_s:,.1f}")] if elapsed_s else []
    if elapsed_s and search_s is not None:
        rows.append(("search, s", f"{search_s:,.1f}"))
        rows.append(("teacher, knowledge, latency and the rest, s", f"{elapsed_s - search_s:,.1f}"))
    seconds = sorted(record.elapsed_s for record in trials if record.elapsed_s > 0)
    if seconds:
        spread = f"{seconds[len(seconds) // 2]:,.2f} ({seconds[0]:,.2f} to {seconds[-1]:,.2f})"
        rows.append((f"worker's seconds in {len(seconds)} trials that had one", f"{sum(seconds):,.1f}"))
        rows.append(("seconds a trial, median (least to most)", spread))
    rows.append(("epochs of students", f"{sum(len(record.curve) for record in trials):,}"))
    return layout.section("What it cost", layout.table(("", ""), rows))


def stopped_early(records: Sequence[TrialRecord], primary: Measure) -> str:
    """Return the section about the students that the stopping rule ended, "" without any."""
    stopped = [record for record in records if record.state == "stopped"]
    if not stopped:
        return ""
    spared = sum(record.config["student"]["epochs"] - len(record.curve) for record in stopped)
    more = [f"… and {len(stopped) - STOPPED_SHOWN} more."] if len(stopped) > STOPPED_SHOWN else []
    return layout.section(
        "Stopped early",
        f"<p>{len(stopped)} students were stopped by the rule under <code>search.stopping</code>, when others had got further "
        f"by the same epoch; that spared {spared:,} epochs.</p>",
        layout.table(
            ("trial", "epochs", f"{primary.label} then", "searched values"),
            [_stopped_row(record, primary) for record in stopped[:STOPPED_SHOWN]], "text",
        ),
        layout.paragraphs(more),
    )  # fmt: skip


def _stopped_row(record: TrialRecord, primary: Measure) -> tuple[str, ...]:
    value = record.curve[-1].get(primary.name) if record.curve else None
    epochs = f"{len(record.curve)} of {record.config['student']['epochs']}"
    return record.trial_id, epochs, "" if value is None else primary.text(value), flat(record.params)


def left_out(records: Sequence[TrialRecord]) -> str:
    """Return the section about failed and infeasible trials, with the last line of each error; "" without any."""
    rows = [(r.trial_id, r.state, _last_line(r)) for r in records if r.state in ("failed", "infeasible")]
    if not rows:
        return ""
    return layout.section("Failed and infeasible trials", layout.table(("trial", "state", "why"), rows, "text"))


def _last_line(record: TrialRecord) -> str:
    return record.error.strip().splitlines()[-1] if record.error.strip() else ""
