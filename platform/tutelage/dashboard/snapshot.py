"""The snapshot of a sweep: one columnar JSON document of all its candidates, which the explorer's page draws.

It lies on the sweep's run in MLflow as `explorer/snapshot.json.gz`, because reading ten thousand runs takes MLflow 23 seconds.
"""

from __future__ import annotations

import gzip
import io
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from tutelage.dashboard.header import header
from tutelage.dashboard.rows import Rows, finite
from tutelage.errors import WorkFailed
from tutelage.intervals import wilson_bounds
from tutelage.measure import Measure, standard_error_of
from tutelage.objectives import Objective, reference_losses
from tutelage.pareto import hypervolume
from tutelage.records.live_front import LiveFront
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import one_a_trial
from tutelage.redaction import redacted
from tutelage.report.importance import importances

WHOLE = ("is_on_front", "baselines")  # lists that an increment has whole
BY_MEASURE = ("values", "last", "low", "high", "mean")  # mappings of a measure's name to its column
MOST_BYTES = 500_000_000  # of an unpacked snapshot; one of a million candidates has 300 MB
CHUNK = 2_000  # values that are written as JSON at a time; other threads run in between
MOST_IN_FOREST = 2_000  # trials; the forest then takes five seconds
CONFIRMED = ("confirmed_mean", "confirmed_low", "confirmed_high", "confirmed_seeds")
Z = 1.959963984540054  # the normal quantile of a two-sided interval of 95 %

Policies = Callable[
    [SweepDir], Mapping[str, Mapping[str, Any]]
]  # by policy what it takes: `takes` (a name), `reason`, `why_none`


def snapshot_of(
    home: SweepDir, policies: Policies | None = None, run_ids: Mapping[str, str] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Return the snapshot of a sweep, made from its ledger; `policies` says what each policy takes.

    With `policies` it also has the importance of each setting, as the report does, which takes seconds.
    `run_ids` are those of MLflow beside the ones on record. Raises `WorkFailed` if a file of the sweep is damaged.
    """
    head, rows = header(home), Rows(home.kept_spec().space.names())
    if head["sweep"]["objectives"]:
        front = LiveFront(objectives=home.objectives(), limits=home.kept_spec().search.constraints)
        for record in home.ledger.ended():
            for _ in front.enter(record):
                pass
            rows.add(record, front.labels)
        rows.leave_front(name for name, label in front.labels.items() if label == "dominated")
    document = assembled(head, rows.document({**home.facts().get("run_ids", {}), **(run_ids or {})}), home.measures())
    with suppress(WorkFailed):  # a damaged selection: the next `select` writes it
        selected = home.selection()
        document["is_champion"] = rows.place(selected["student"]["trial"]) if selected else None
    if policies and head["sweep"]["objectives"]:
        document["importance"] = _importance(home)
    for name, found in (policies(home) if policies else {}).items():
        document["sweep"]["policies"].setdefault(name, {"options": {}}).update(
            {**redacted(found), "takes": rows.place(found["takes"] or "")}
        )
    return document


def _importance(home: SweepDir) -> dict[str, dict[str, Any]]:
    """Return by objective what the report's random forest says of each setting; nothing for very few or many trials."""
    trials = one_a_trial(home.records())
    found = importances(trials, home.objectives()) if len(trials) <= MOST_IN_FOREST else []
    return {one.objective: {"r2": one.r2, "num_trials": one.num_trials, "shares": one.shares} for one in found}


def assembled(head: Mapping[str, Any], rows: Mapping[str, Any], measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Return the snapshot of a header and of the columns of `Rows.document`: with intervals, choices and hypervolume."""
    values = dict(rows["values"])
    confirmed = {name: values.pop(name, [None] * rows["n"]) for name in CONFIRMED}
    primary = measures[head["sweep"]["primary"]]
    errors = values.pop(standard_error_of(primary), [None] * rows["n"])
    low, high = _intervals(primary, values.get(primary.name, [None] * rows["n"]), errors, confirmed, head["num_judged"])
    times = {"started_at": rows["started_at"], "updated_at": time.time_ns() // 1_000_000}
    sweep = {**head["sweep"], **times, "hypervolume": _hypervolume(head, rows, measures)}
    return {
        **{name: value for name, value in head.items() if name != "num_judged"},
        **{name: column for name, column in rows.items() if name not in ("values", "params", "started_at")},
        "sweep": sweep,
        "is_champion": None,
        "values": values,
        "last": {name: column for name, column in rows["last"].items() if name in measures},
        "low": {primary.name: low},
        "high": {primary.name: high},
        "mean": {primary.name: confirmed["confirmed_mean"]},
        "seeds": [None if count is None else int(count) for count in confirmed["confirmed_seeds"]],
        "config": {name: as_setting(name, head["config"].get(name), column) for name, column in rows["params"].items()},
    }


def as_setting(name: str, domain: Mapping[str, Any] | None, values: Sequence[Any]) -> dict[str, Any]:
    """Return a searched setting with its values: numbers, or places among its choices; None where it is inactive.

    Choices are without secrets.
    """
    is_number = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    if is_number and (domain is None or domain["kind"] == "number"):
        return {"kind": "number", "log": bool(domain and domain["log"]), "values": [finite(value) for value in values]}
    choices = list(domain.get("choices", ())) if domain else []
    places = {_key(choice): place for place, choice in enumerate(choices)}
    for value in values:
        if value is not None and _key(value) not in places:
            places[_key(value)] = len(choices)
            choices.append(value)
    shown = [redacted({name: choice})[name] for choice in choices]
    return {"kind": "choice", "choices": shown, "values": [None if v is None else places[_key(v)] for v in values]}


def _key(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value  # True is no 1


def _intervals(
    primary: Measure, values: Sequence[float | None], errors: Sequence[float | None],
    confirmed: Mapping[str, Sequence[float | None]], num_judged: int | None,
) -> tuple[list[float | None], list[float | None]]:  # fmt: skip
    """Return both ends of each candidate's 95 % interval: of fresh seeds, else over the validation examples, else None."""
    given = np.array(values, dtype=np.float64)
    if primary.spread == "share" and num_judged:
        low, high = wilson_bounds(given, num_judged)
    else:
        half = Z * np.array(errors, dtype=np.float64)
        low, high = given - half, given + half
    ends = []
    for name, column in (("confirmed_low", low), ("confirmed_high", high)):
        fresh = np.array(confirmed[name], dtype=np.float64)
        ends.append([finite(float(end)) for end in np.where(np.isnan(fresh), column, fresh)])
    return ends[0], ends[1]


def _hypervolume(head: Mapping[str, Any], rows: Mapping[str, Any], measures: Mapping[str, Measure]) -> float | None:
    """Return the hypervolume of the rows on the front, None before a search has begun."""
    sweep = head["sweep"]
    if not sweep["objectives"] or any(sweep["reference"][name] is None for name in sweep["objectives"]):
        return None
    objectives = [Objective(measure=measures[name], reference=sweep["reference"][name]) for name in sweep["objectives"]]
    places = [place for place, on_front in enumerate(rows["is_on_front"]) if on_front]
    matrix = np.array([[rows["values"][one.name][place] * one.measure.sign for one in objectives] for place in places])
    return hypervolume(matrix.reshape(len(places), len(objectives)), reference_losses(objectives))


def packed(document: Mapping[str, Any]) -> bytes:
    """Return a document as gzipped JSON; NaN and infinity raise `ValueError`."""
    return gzip.compress("".join(_parts(document)).encode(), compresslevel=3, mtime=0)


def _parts(value: Any) -> Iterator[str]:
    """Give a value as JSON, piece by piece: written at once, a hundred thousand rows would stop every thread for seconds."""
    if isinstance(value, Mapping):
        for place, (key, one) in enumerate(value.items()):
            yield f"{',' if place else '{'}{json.dumps(str(key))}:"
            yield from _parts(one)
        yield "}" if value else "{}"
    elif isinstance(value, list) and len(value) > CHUNK:
        for start in range(0, len(value), CHUNK):
            text = json.dumps(value[start : start + CHUNK], allow_nan=False, separators=(",", ":"))
            yield f"{',' if start else '['}{text[1:-1]}"
        yield "]"
    else:
        yield json.dumps(value, allow_nan=False, separators=(",", ":"))


def unpacked(data: bytes) -> dict[str, Any]:
    """Return the document of `packed`; `ValueError` for bytes that are cut short or hold something else."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MOST_BYTES + 1)
        document = json.loads(text, parse_constant=_no_number) if len(text) <= MOST_BYTES else None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise ValueError(f"not a whole snapshot ({error})") from None
    if not _is_whole(document):
        raise ValueError("not a snapshot of format 1 in which every column has an entry a candidate")
    assert isinstance(document, dict)
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _is_whole(document: Any) -> bool:
    """Return whether a document has what the explorer's requests read, and as many entries in each column as candidates.

    Whoever may write to MLflow can put another file at the snapshot's place.
    """
    try:
        lists = {name: one for name, one in document.items() if isinstance(one, list) and name != "baselines"}
        measured = [column for name in BY_MEASURE for column in document.get(name, {}).values()]
        searched = [one["values"] for one in document.get("config", {}).values()]
        sweep, sizes = document["sweep"], {len(column) for column in (*lists.values(), *measured, *searched)}
        has_parts = {"id", "run_id", "is_on_front"} <= lists.keys() and "name" in sweep and isinstance(sweep["commands"], dict)
        return has_parts and sizes == {document["n"]} and document["format"] == 1 and isinstance(document["revision"], str)
    except (AttributeError, KeyError, TypeError):
        return False


def increment(document: Mapping[str, Any], since: int, revision: str) -> dict[str, Any]:
    """Return what a page lacks that has the first `since` rows of a revision; the whole document for another revision.

    An increment has `since`, and columns that begin at that row; `is_on_front` is whole, because newer rows change it.
    """
    if revision != document["revision"] or not 0 <= since <= document["n"]:
        return dict(document)
    columns = {name: value[since:] for name, value in document.items() if isinstance(value, list) and name not in WHOLE}
    by_measure = {
        name: {measure: column[since:] for measure, column in document[name].items()}
        for name in BY_MEASURE if name in document
    }  # fmt: skip
    config = {name: {**one, "values": one["values"][since:]} for name, one in document.get("config", {}).items()}
    return {**document, "since": since, **columns, **by_measure, "config": config}
