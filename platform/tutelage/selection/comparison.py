"""What a selection found, in words: whether teaching helped, what came from the source, whether a champion is beaten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_teaching(confirmed: Mapping[str, Any], tested: Mapping[str, Any]) -> str:
    """Return in a sentence whether the teacher helped: the paired gain on test, and the gain over fresh seeds.

    A verdict needs both 95 % intervals on the same side of 0. The test split alone compares one pair of trainings, of
    which the taught one was picked as the best on validation, so it flatters the teacher.
    """
    gain, fresh = tested["gain_over_labels_only"], confirmed["gain"]
    if gain is None:
        return (
            "No verdict: no training example has a label, so there is no student of labels alone. Of its teacher's answers "
            f"alone the student has {tested['accuracy']:.4f} on test, its teacher {tested['teacher']['accuracy']:.4f}."
        )
    lows, highs = [gain["low"]], [gain["high"]]
    if fresh is not None and fresh["interval"] is not None:
        lows.append(fresh["interval"][0])
        highs.append(fresh["interval"][1])
    sure = len(lows) > 1
    said = (
        "Distillation helps" if sure and min(lows) > 0 else "Distillation hurts" if sure and max(highs) < 0 else "Inconclusive"
    )
    said += f": against labels alone at the same budget the student has {in_points(gain)} on the test split"
    if fresh is None:
        return f"{said}; without fresh seeds (--confirm) there is no verdict."
    if fresh["sd"] is None:
        return f"{said}, and {100 * fresh['mean']:+.2f} points on validation with one fresh seed; two or more can be judged."
    spread = f"{100 * fresh['mean']:+.2f} ± {100 * fresh['sd']:.2f} points"
    return f"{said}, and {spread} on validation over {confirmed['seeds']} fresh seeds."


def in_points(gain: Mapping[str, float]) -> str:
    """Return a paired difference of accuracies with its interval, in points."""
    return f"{100 * gain['difference']:+.2f} points ({100 * gain['low']:+.2f} to {100 * gain['high']:+.2f})"


def of_transfer(source: Mapping[str, Any] | None, tested: Mapping[str, Any], num_teachers: int) -> str | None:
    """Return in a sentence what came over from the source that the teacher learnt first; None if there was none."""
    if source is None:
        return None
    alone = tested["labels_only"]
    without = f"{alone['accuracy']:.4f} without it" if alone else "there are no labels to learn it without"
    who, has = ("the first teacher", f"all {num_teachers} together have") if num_teachers > 1 else ("the teacher", "it has")
    return (
        f"From {source['data']}, where {who} has {source['accuracy']:.4f} on validation, to this data, where {has} "
        f"{tested['teacher']['accuracy']:.4f} on the test split: the student has {tested['accuracy']:.4f} with it, {without}."
    )


def of_luck(searched: float, confirmed: Mapping[str, Any] | None) -> str | None:
    """Return in a sentence what fresh seeds left of a student's accuracy in the search; None without fresh seeds."""
    if confirmed is None:
        return None
    change = 100 * (confirmed["mean"] - searched)
    said = (
        f"Over {confirmed['seeds']} fresh seeds it has {confirmed['mean']:.4f} on validation, {change:+.2f} points against the "
        f"{searched:.4f} that the search saw"
    )
    if confirmed["interval"] is None:
        return f"{said}; from two seeds on, an interval can be given."
    low, high = confirmed["interval"]
    return f"{said}. Promised is an accuracy between {low:.4f} and {high:.4f}, with 95 % confidence."


def of_test(tested: Mapping[str, Any]) -> str | None:
    """Return a warning if the test split has been looked at for several students, else None."""
    if tested["students"] < 2:
        return None
    return (
        f"The test split has been opened {tested['openings']} times, for {tested['students']} different students: its "
        "intervals do not allow for a choice among them."
    )


def of_promotion(
    gain: Mapping[str, float], size_bytes: float, champion_bytes: float, margin: float, champion: str
) -> tuple[bool, str]:
    """Return whether a student takes a champion's place, and why in words.

    It does if it is more accurate beyond noise: the 95 % interval of the paired difference on the test split (`gain`) is above
    0; or if it is smaller and surely less than `margin` less accurate.
    """
    against = f"against version {champion} it has {in_points(gain)} on the test split"
    sizes = f"{size_bytes:,.0f} bytes, the champion has {champion_bytes:,.0f}"
    if gain["low"] > 0:
        return True, f"It is better than the champion by more than noise: {against}."
    if size_bytes < champion_bytes and gain["low"] > -margin:
        return True, f"It is smaller ({sizes}) and less accurate by less than {100 * margin:g} points, surely: {against}."
    if size_bytes < champion_bytes:
        return False, f"It is smaller ({sizes}), but may be less accurate by {100 * margin:g} points or more: {against}."
    return False, f"It is not better than the champion by more than noise ({against}), nor smaller ({sizes})."
