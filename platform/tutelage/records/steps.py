"""What each step cost a student on its way from the whole network over removals to its int8 file, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage.intervals import wilson_interval
from tutelage.measure import Measure
from tutelage.records.trial import TrialRecord

COSTS = ("calibration_error", "params", "size_bytes", "macs", "latency_ms", "latency_p90_ms")  # beside the primary measure
Table = tuple[list[str], list[list[str]]]  # head and rows


def steps_of(
    record: TrialRecord, records: Sequence[TrialRecord], measures: Mapping[str, Measure], num_examples: int | None
) -> Table | None:
    """Return the measures of a student after each step of its trial, each with its change from the row above.

    The steps are the rungs of a ladder up to the student's, and its int8 file. A share has the Wilson interval of the
    `num_examples` of validation. None for a student of a trial that gave one candidate.
    """
    own = {one.candidate: one for one in records if one.number == record.number and one.candidate is not None}
    path = [own[place] for place in _path(record) if place in own]
    if len(path) < 2:
        return None
    primary = next(iter(measures.values()))
    shown = [primary, *(measures[name] for name in COSTS if name in measures and name != primary.name)]
    rows = []
    for before, one in zip((None, *path), path, strict=False):
        cells = [_cell(measure, before, one, num_examples if measure == primary else None) for measure in shown]
        rows.append([one.trial_id, one.candidates[0].made or "whole", *cells])
    return ["student", "step", *(f"{measure.label}, {measure.unit}" for measure in shown)], rows


def _path(record: TrialRecord) -> list[int]:
    """Return the places of the candidates that lead to a student: rungs from the whole network on, then the int8 file."""
    assert record.candidate is not None or not record.candidates
    if record.candidate is None:
        return []
    each = 2 if record.config.get("sparsity", {}).get("quantise") else 1
    rung = record.candidate // each
    floats = [place * each for place in (range(rung + 1) if record.rung is not None else (rung,))]
    return [*floats, floats[-1] + 1] if each == 2 else floats


def _cell(measure: Measure, before: TrialRecord | None, one: TrialRecord, num_examples: int | None) -> str:
    value = one.measures.get(measure.name)
    if value is None:
        return "not measured"
    ends = wilson_interval(round(value * num_examples), num_examples) if num_examples and measure.spread == "share" else None
    text = measure.text(value) + (f" ({measure.interval_text(ends)})" if ends else "")
    earlier = before.measures.get(measure.name) if before else None
    if earlier is None:
        return text
    if measure.is_cost:
        return f"{text}, × {value / earlier:.2f}" if earlier else text
    return f"{text}, {measure.difference_text(value - earlier)}"
