"""The conclusions of a selection as text: the gain of distillation, of the source, and over the champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.measure import Measure


def of_distillation(primary: Measure, confirmed: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    """Return a sentence on whether distillation helped: the paired gain on test, and the gain over fresh seeds.

    A conclusion needs both 95 % intervals on the same side of 0. The test split compares one pair of trainings, of
    which the distilled one was picked as the best on validation, so its gain alone is optimistic.
    """
    gain, fresh = tested["gain_over_label_only"], confirmed["gain"]
    if gain is None:
        own, teachers = primary.text(tested["value"]), primary.text(tested["teacher"]["value"])
        return (
            "No conclusion: no training example has a label, so there is no label-only baseline. Trained from its "
            f"teacher's outputs alone, the student has {own} on test, its teacher {teachers}."
        )
    lows, highs = [gain["low"]], [gain["high"]]
    if fresh is not None and fresh["interval"] is not None:
        lows.append(fresh["interval"][0])
        highs.append(fresh["interval"][1])
    has_both = len(lows) > 1
    conclusion = (
        "Distillation helps"
        if has_both and min(lows) > 0
        else "Distillation hurts"
        if has_both and max(highs) < 0
        else "Inconclusive"
    )
    conclusion += f": against its label-only baseline the student has {gain_text(primary, gain)} on the test split"
    if fresh is None:
        return f"{conclusion}; without fresh seeds (--confirm) there is no conclusion."
    if fresh["sd"] is None:
        once = primary.difference_text(fresh["mean"])
        return f"{conclusion}, and {once} on validation with one fresh seed; a conclusion needs two or more."
    spread = primary.spread_text(fresh["mean"], fresh["sd"])
    return f"{conclusion}, and {spread} on validation over {confirmed['seeds']} fresh seeds."


def gain_text(primary: Measure, gain: Mapping[str, float]) -> str:
    """Return a paired gain with its interval as text; a gain is positive where the student is better."""
    low, high = (primary.difference_number(gain[end]) for end in ("low", "high"))
    named = "a gain of " if primary.direction == "minimise" else ""  # a negative number of errors would read as fewer
    return f"{named}{primary.difference_text(gain['difference'])} ({low} to {high})"


def of_transfer(
    primary: Measure, source: Mapping[str, Any] | None, tested: Mapping[str, Any], num_teachers: int
) -> str | None:  # fmt: skip
    """Return a sentence on the effect of the source that the teacher was trained on first; None without a source."""
    if source is None:
        return None
    baseline = tested["label_only"]
    without = f"{primary.text(baseline['value'])} without it" if baseline else "without it there are no labels to learn from"
    who, has = ("the first teacher", f"all {num_teachers} together have") if num_teachers > 1 else ("the teacher", "it has")
    return (
        f"From {source['data']}, where {who} has {primary.text(source['quality'])} on validation, to this data, where {has} "
        f"{primary.text(tested['teacher']['value'])} on the test split: the student has {primary.text(tested['value'])} with "
        f"it, {without}."
    )


def of_regression(primary: Measure, searched: float, confirmed: Mapping[str, Any] | None) -> str | None:
    """Return a sentence that compares a student's fresh seeds with the search; None without fresh seeds."""
    if confirmed is None:
        return None
    change = primary.difference_text(confirmed["mean"] - searched)
    text = (
        f"Over {confirmed['seeds']} fresh seeds its {primary.label} is {primary.text(confirmed['mean'])} on validation, "
        f"{change} against the {primary.text(searched)} in the search"
    )
    if confirmed["interval"] is None:
        return f"{text}; an interval needs two seeds or more."
    low, high = confirmed["interval"]
    return f"{text}. Expected {primary.label}: {primary.text(low)} to {primary.text(high)} (95 % confidence)."


def of_test(tested: Mapping[str, Any]) -> str | None:
    """Return a warning if the test split has been evaluated for several students, else None."""
    if tested["students"] < 2:
        return None
    return (
        f"The test split has been evaluated {tested['evaluations']} times, for {tested['students']} different students: its "
        "intervals do not allow for a choice among them."
    )


def of_promotion(
    primary: Measure, gain: Mapping[str, float], size_bytes: float, champion_bytes: float, margin: float, champion: str
) -> tuple[bool, str]:
    """Return whether a student replaces a champion, and the reason as text.

    It replaces it if it is better beyond noise, which means that the 95 % interval of the paired gain on the test split is
    above 0; or if it is smaller and the whole interval is above -`margin`, in the measure's unit.
    """
    against = f"against version {champion} it has {gain_text(primary, gain)} on the test split"
    allowed = primary.difference_text(margin).lstrip("+")
    sizes = f"{size_bytes:,.0f} bytes, the champion has {champion_bytes:,.0f}"
    if gain["low"] > 0:
        return True, f"It is better than the champion by more than noise: {against}."
    if size_bytes < champion_bytes and gain["low"] > -margin:
        return True, f"It is smaller ({sizes}), and worse by less than {allowed} with 95 % confidence: {against}."
    if size_bytes < champion_bytes:
        return False, f"It is smaller ({sizes}), but may be worse by {allowed} or more: {against}."
    return False, f"It is not better than the champion by more than noise ({against}), nor smaller ({sizes})."
