"""The sections of a selection on a sweep's page: whether the teacher helped, what fresh seeds changed, the selected student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.measure import Measure
from tutelage.records.trial import TrialRecord
from tutelage.redaction import redacted
from tutelage.report import figures, layout

Selection = Mapping[str, Any]  # the document of `tutelage select --json`

_REGRESSION = (
    "The best of many on one validation split is overestimated; trained again with seeds that no search has used, it "
    "regresses to the mean. The interval holds the {label} of one such student on all examples of the kind, with "
    "95 % confidence: it allows for seeds and for the size of the validation split."
)


def baseline_of(selection: Selection | None) -> dict[str, Any] | None:
    """Return the selected student's trial, and the measure's name and value of its label-only baseline; None without one."""
    value = selection["confirmed"].get("baseline") if selection else None
    if selection is None or value is None:
        return None
    return {"trial": selection["student"]["trial"], "measure": selection["measure"]["name"], "value": value}


def regression(candidates: Sequence[TrialRecord], primary: Measure) -> str:
    """Return how the students that were trained again compare with the search: a table, "" without any."""
    rows = [_regression_row(record, primary) for record in figures.confirmed(candidates)]
    if not rows:
        return ""
    change = f"change, {primary.difference_unit}"
    head = ("trial", f"{primary.label} in the search", "fresh seeds", "mean over them", "95 % interval", change)
    note = layout.paragraphs([_REGRESSION.format(label=primary.label)], "quiet")
    return "<h3>With fresh seeds</h3>" + layout.table(head, rows) + note


def _regression_row(record: TrialRecord, primary: Measure) -> tuple[str, ...]:
    searched, mean = record.measures[primary.name], record.measures["confirmed_mean"]
    ends = [record.measures[name] for name in ("confirmed_low", "confirmed_high") if name in record.measures]
    seeds, change = f"{record.measures['confirmed_seeds']:.0f}", primary.difference_number(mean - searched)
    interval = primary.interval_text(ends or None)
    return record.trial_id, primary.text(searched), seeds, primary.text(mean), interval, change


def distillation(selection: Selection | None, measures: Mapping[str, Measure]) -> str:
    """Return the section that compares the student with its label-only baseline and its teacher."""
    title = "Does the teacher help?"
    if selection is None:
        return layout.section(title, "<p>No student has been selected yet: run <code>tutelage select</code>.</p>")
    confirmed, test, primary = selection["confirmed"], selection["test"], next(iter(measures.values()))
    compared = (
        ("student, distilled", "distilled", test),
        ("label-only baseline", "label_only", test["label_only"]),
        ("teacher", "", test["teacher"]),
    )
    rows = [
        (who, _spread(confirmed.get(key), primary), _interval(score, primary))
        for who, key, score in compared
        if score is not None
    ]
    head = ("", f"validation, mean ± sd of {confirmed['seeds']} fresh seeds", "test, 95 % interval")
    remarks = [selection["regression"], selection["distillation"], _other_measures(selection["other_measures"], measures)]
    remarks += [selection["capacity_gap"], selection["transfer"]]
    return layout.section(title, layout.paragraphs(remarks), layout.table(head, rows))


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


def selected(selection: Selection | None) -> str:
    """Return the section about the selected student: why, its config and measures, its registration."""
    if selection is None:
        return ""
    student, runner_up, model, test = selection["student"], selection["runner_up"], selection["model"], selection["test"]
    rows = [("config", flat(student["config"])), ("measures", flat(student["measures"]))]
    if runner_up:
        rows.append(("runner-up", f"{runner_up['trial']}: {flat(runner_up['measures'])}"))
    if model:
        given = f"alias {', '.join(model['aliases'])}" if model["aliases"] else "no alias"
        rows.append(("registered", f"{model['name']} version {model['version']}, {given}. {model['why']}"))
    rows.append(
        (
            "evaluations on the test split",
            f"{test['evaluations']}, for {test['students']} student{'s' * (test['students'] != 1)}",
        )
    )
    remarks = layout.paragraphs([selection["reason"], selection["test_warning"]])
    table = layout.table(("", ""), rows, "text")
    return layout.section(
        "The selected student", remarks, table, _guarded(selection["guard"], Measure.from_document(selection["measure"]))
    )


def _guarded(guard: Mapping[str, Any] | None, primary: Measure) -> str:
    """Return the guard's guarantee and each of its tests in their order; "" without a guard."""
    if guard is None:
        return ""
    rows = [
        (step["trial"], primary.difference_number(step["drop"]), "" if step["lost"] is None else str(step["lost"]),
         "" if step["won"] is None else str(step["won"]), f"{step['p_value']:.2g}", "yes" if step["passed"] else "no")
        for step in guard["steps"]
    ]  # fmt: skip
    head = ("candidate", f"drop, {primary.difference_unit}", "lost", "won", "p", "certified")
    rows += [(trial, "", "", "", "", "not tested") for trial in guard["untested"]]
    return "<h3>The guard</h3>" + layout.paragraphs([guard["guarantee"]]) + (layout.table(head, rows) if rows else "")


def flat(node: Mapping[str, Any], path: str = "") -> str:
    """Return nested settings as "a.b 1, a.c 2", without secrets."""
    parts = []
    for key, value in redacted(node).items():
        here = f"{path}.{key}" if path else str(key)
        parts.append(flat(value, here) if isinstance(value, Mapping) and value else f"{here} {layout.plain(value)}")
    return ", ".join(parts)
