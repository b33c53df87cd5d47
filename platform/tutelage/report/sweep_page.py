"""A sweep's page, which opens offline: front, gain of distillation, selection, cost, failures, meaning of numbers."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import WorkFailed
from tutelage.measure import Measure
from tutelage.objectives import Objective
from tutelage.records import fronts
from tutelage.records.fronts import candidates
from tutelage.records.lineage import environment
from tutelage.records.steps import steps_of
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord, one_a_trial
from tutelage.report import (
    charts,
    confusion_sections,
    example_sections,
    figures,
    layout,
    selection_sections,
    tables,
    trial_sections,
)  # fmt: skip

FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep's page is made of.

    `candidates` are those of `records` that the front is drawn from; `measures` are what was measured by name, the primary one
    first; `selection` is the document of `tutelage select --json`, if there was one; of `elapsed_s`, `search_s` went into the
    search; validation has `num_judged` examples. `examples` is the document of `selection.examples`.
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
    num_judged: int | None = None
    examples: Mapping[str, Any] | None = None

    @property
    def primary(self) -> Measure:
        """The primary measure of the sweep's task."""
        return next(iter(self.measures.values()))


def page(sweep: Sweep) -> str:
    """Return the page of a sweep."""
    primary = sweep.primary
    meanings = layout.table(("measure", "meaning"), _meanings(sweep), "text")
    parts = [
        _front(sweep),
        selection_sections.distillation(sweep.selection, sweep.measures),
        selection_sections.selected(sweep.selection),
        _steps(sweep),
        _confused(sweep),
        example_sections.most_different(sweep.examples, sweep.selection),
        trial_sections.what_mattered(sweep.records, sweep.objectives),
        trial_sections.cost(sweep.records, sweep.elapsed_s, sweep.search_s),
        trial_sections.stopped_early(sweep.records, primary),
        trial_sections.left_out(sweep.records),
        layout.section("What each number means, and how it was measured", meanings),
        layout.section("Where it was measured", layout.table(("", ""), sweep.environment.items(), "text")),
        layout.section("Spec as resolved", f"<pre>{html.escape(sweep.spec_yaml)}</pre>"),
    ]
    return layout.page(sweep.name, layout.headline(sweep.name, _headline(sweep)), parts)


def _meanings(sweep: Sweep) -> list[tuple[str, str]]:
    """Return name and meaning of every measure that some student has, and what the test split's value rests on."""
    reported = {name for record in sweep.records for name in record.measures}
    rows = [(name, measure.meaning) for name, measure in sweep.measures.items() if name in reported]
    how = {"share": "95 % Wilson interval", "mean": "95 % bootstrap interval over examples"}
    kind = how.get(
        sweep.primary.spread or "", "95 % bootstrap interval over examples" if sweep.primary.spread else "no interval"
    )
    return [*rows, (f"test {sweep.primary.name}", f"the same on the test split, evaluated after selection; {kind}")]


def _headline(sweep: Sweep) -> dict[str, Any]:
    members = fronts.front_of(sweep.candidates, sweep.objectives)
    states, primary = Counter(record.state for record in one_a_trial(sweep.records)), sweep.primary
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
    if baseline := selection_sections.baseline_of(sweep.selection):
        figures.add_baseline(figure, sweep.objectives, sweep.candidates, baseline)
    members = tables.front_table(sweep.candidates, sweep.objectives)
    against = ", ".join(f"{o.name} {o.reference:,g}" for o in sweep.objectives)
    return layout.section(
        "The front",
        layout.plot(figure),
        layout.table(list(members.columns), members.itertuples(index=False)),
        layout.paragraphs([f"Hypervolume is measured against {against}.", *_inherited(sweep)], "quiet"),
        selection_sections.regression(sweep.candidates, sweep.primary),
    )


def _steps(sweep: Sweep) -> str:
    """Return the section about what each step cost the selected student, if its trial gave several."""
    chosen = sweep.selection["student"]["trial"] if sweep.selection else None
    record = next((one for one in sweep.records if one.trial_id == chosen), None)
    found = steps_of(record, sweep.records, sweep.measures, sweep.num_judged) if record else None
    return layout.section("From the whole network to the selected student", layout.table(*found)) if found else ""


def _confused(sweep: Sweep) -> str:
    found = sweep.examples
    return (
        confusion_sections.confused(found.get("confusions")) if found and example_sections.is_of(found, sweep.selection) else ""
    )


def _inherited(sweep: Sweep) -> list[str]:
    """Return the sentence about the students whose weights come from another student of their trial, if there are any."""
    count = sum(record.is_inherited for record in sweep.candidates)
    return [f"Open marks, and inherited in the table: {count} students, {charts.INHERITED}."] if count else []


def page_of(home: SweepDir) -> str:
    """Return the page of the sweep in `home`, with its latest selection, if any; `WorkFailed` before its first trial."""
    records = home.records()
    if not records:
        raise WorkFailed(f"sweep '{home.name}' has no trial yet; a report needs at least one.")
    facts = home.facts()
    sweep = Sweep(
        name=home.name, spec_yaml=home.spec_text(), objectives=home.objectives(),
        measures=home.measures(), records=records, candidates=candidates(home), teacher=facts["teacher"],
        selection=home.selection(), environment=environment(), elapsed_s=facts.get("elapsed_s", 0.0),
        search_s=facts.get("search_s"), num_judged=facts.get("num_examples", {}).get("validation"),
        examples=home.examples(),
    )  # fmt: skip
    return page(sweep)


def write_report(home: SweepDir) -> Path:
    """Write the page of the sweep in `home` into its directory, and return where it is; raises as `page_of` does."""
    home.files.put(FILE, page_of(home))
    return home.files.local_path(FILE)
