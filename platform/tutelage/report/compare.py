"""Several sweeps against each other: hypervolumes up to one reference point, the best at each size, who beats whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import floor, log10
from typing import Any

import numpy as np

from tutelage import objectives as objectives_module
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.objectives import Objective, losses
from tutelage.records.fronts import candidates, front_of, hypervolume_of
from tutelage.records.sweep_dir import SweepDir
from tutelage.records.trial import TrialRecord

SIZES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Sweeps side by side: `objectives` with the one reference point, each sweep's candidates, and the JSON `document`."""

    objectives: tuple[Objective, ...]
    candidates: dict[str, list[TrialRecord]]
    document: dict[str, Any]


def compare(homes: Sequence[SweepDir], reference: Mapping[str, float], sizes: Sequence[float] = ()) -> Comparison:
    """Compare at least two sweeps over the same data and objectives.

    The reference point is `reference` where that names an objective, else the worst of the sweeps' own. `sizes` are bounds on
    the size among the objectives; by default five of the fronts' own. Raises `InputError` for what cannot be compared.
    """
    found = {home.name: candidates(home) for home in homes}
    _check_comparable(homes, found)
    objectives = _with_one_reference(homes, reference)
    primary = homes[0].primary()
    fronts = {name: front_of(records, objectives) for name, records in found.items()}
    across = next((o for o in objectives if o.measure.is_cost), None)
    bounds = list(sizes) or (_sizes_of(fronts, across) if across else [])
    document = {
        "version": 2,
        "objectives": [{"name": o.name, "direction": o.direction} for o in objectives],
        "reference": {o.name: o.reference for o in objectives},
        "measure": primary.document(),
        "size": across.name if across else None,
        "sweeps": [_of_sweep(home, fronts[home.name], found[home.name], objectives, across, primary, bounds) for home in homes],
        "dominated": [_dominated(one, other, fronts, objectives) for one, other in permutations(fronts, 2)],
        "notes": _notes(homes, objectives),
    }
    return Comparison(objectives=objectives, candidates=found, document=document)


def _check_comparable(homes: Sequence[SweepDir], found: Mapping[str, Sequence[TrialRecord]]) -> None:
    names = [home.name for home in homes]
    if len(set(names)) < len(names) or len(names) < 2:
        raise InputError(f"compare takes two different sweeps or more. Given: {', '.join(names)}.")
    for home in homes:
        if "objectives" not in home.facts() or not found[home.name]:
            raise InputError(f"sweep '{home.name}' has no finished student yet, so there is no front to compare.")
    first, *others = homes
    for other in others:
        mine, its = ([(o.name, o.direction) for o in home.objectives()] for home in (first, other))
        if sorted(mine) != sorted(its):
            directions = [", ".join(f"{direction} {name}" for name, direction in one) for one in (mine, its)]
            raise InputError(
                f"'{first.name}' was to {directions[0]}, '{other.name}' to {directions[1]}: fronts of other objectives do not "
                "compare."
            )
        prints = [home.facts().get("fingerprint") for home in (first, other)]
        if prints[0] != prints[1]:
            raise InputError(
                f"'{first.name}' and '{other.name}' learnt and were measured on other data (fingerprints {str(prints[0])[:12]} "
                f"and {str(prints[1])[:12]}): their measures do not compare. Sweep both on the same data, with the same seed."
            )


def _with_one_reference(homes: Sequence[SweepDir], given: Mapping[str, float]) -> tuple[Objective, ...]:
    named = homes[0].objectives()
    for name in given:
        if name not in {o.name for o in named}:
            raise InputError(f"--reference {name}: the objectives are {', '.join(o.name for o in named)}.")
    fixed = []
    for one in named:
        own = [o.reference for home in homes for o in home.objectives() if o.name == one.name and o.reference is not None]
        worst = min(own) if one.direction == "maximise" else max(own)
        fixed.append(replace(one, reference=given.get(one.name, worst)))
    return tuple(fixed)


def _sizes_of(fronts: Mapping[str, Sequence[TrialRecord]], across: Objective) -> list[float]:
    """Return about five sizes within the fronts', rounded up to two digits."""
    own = [record.measures[across.name] for front in fronts.values() for record in front]
    return sorted({_rounded_up(float(size)) for size in np.quantile(own, np.linspace(0, 1, SIZES_SHOWN), method="higher")})


def _rounded_up(size: float) -> float:
    if size <= 0:
        return size
    step = 10.0 ** (floor(log10(size)) - 1)
    return float(f"{np.ceil(np.round(size / step, 6)) * step:.3g}")


def _of_sweep(
    home: SweepDir, front: Sequence[TrialRecord], found: Sequence[TrialRecord], objectives: Sequence[Objective],
    across: Objective | None, primary: Measure, bounds: Sequence[float],
) -> dict[str, Any]:  # fmt: skip
    facts, records = home.facts(), home.trials()
    return {
        "sweep": home.name,
        "hypervolume": hypervolume_of(front, objectives),
        "front_size": len(front),
        "trials": len(records),
        "finished": sum(record.state == "finished" for record in records),
        "epochs": sum(len(record.curve) for record in records),
        "elapsed_s": facts.get("elapsed_s"),
        "search_s": facts.get("search_s"),
        "best_at": [{"at_most": bound, "value": _best(found, across, primary, bound)} for bound in bounds] if across else [],
    }


def _best(records: Sequence[TrialRecord], across: Objective, primary: Measure, bound: float) -> float | None:
    fitting = [record.measures[primary.name] for record in records if record.measures[across.name] <= bound]
    return min(fitting, key=lambda value: primary.sign * value, default=None)


def _dominated(
    one: str, other: str, fronts: Mapping[str, Sequence[TrialRecord]], objectives: Sequence[Objective]
) -> dict[str, Any]:  # fmt: skip
    """Return which students on the front of `one` some student of `other` dominates."""
    mine = losses([record.measures for record in fronts[one]], objectives)
    its = losses([record.measures for record in fronts[other]], objectives)
    beaten = [bool(((its <= row).all(axis=1) & (its < row).any(axis=1)).any()) for row in mine]
    trials = [record.trial_id for record, is_beaten in zip(fronts[one], beaten, strict=True) if is_beaten]
    return {"sweep": one, "by": other, "trials": trials, "of": len(fronts[one])}


def _notes(homes: Sequence[SweepDir], objectives: Sequence[Objective]) -> list[str]:
    notes = ["One run each: how far two runs of the same spec with other seeds lie apart is not in these numbers."]
    own = {home.name: {o.name: o.reference for o in home.objectives()} for home in homes}
    for objective in objectives:
        differing = {name: references[objective.name] for name, references in own.items()}
        if len(set(differing.values())) > 1:
            listed = ", ".join(f"{name} {value:,g}" for name, value in differing.items())
            notes.append(
                f"The sweeps' own reference points differ in {objective.name} ({listed}); all are measured here against "
                f"{objective.reference:,g}."
            )
    teachers = {home.name: home.facts()["teacher"].get("address") for home in homes}
    if len(set(teachers.values())) > 1:
        notes.append("The sweeps had different teachers.")
    return notes


def parse_reference(given: Sequence[str]) -> dict[str, float]:
    """Return `measure=value` texts as a mapping; `InputError` for what is none."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"'{text}' is no reference. Write measure=value, such as params=200k.")
        found[name] = objectives_module.parse_quantity(value)
    return found
