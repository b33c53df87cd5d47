"""A sweep's page shows the examples of the selected student, and not those of an earlier selection."""

from __future__ import annotations

from typing import Any

from tutelage.report.example_sections import most_different

SELECTION: dict[str, Any] = {"student": {"trial": "t0001"}}


def document(trial: str = "t0001", split: str = "validation") -> dict[str, Any]:
    examples = [{"row": 1234, "nats": 0.5, "html": "<table></table>"}]
    return {"trial": trial, "split": split, "compared": 2000, "by": "kl", "examples": examples}


def test_examples_of_the_selected_student_are_shown_with_their_distance() -> None:
    shown = most_different(document(), SELECTION)
    assert "validation example 1,234, 0.50 nats" in shown and "<table></table>" in shown
    assert "<b>" not in most_different(document(split="<b>"), SELECTION)


def test_the_section_says_by_what_the_networks_differ() -> None:
    assert "largest KL divergence" in most_different(document(), SELECTION)
    assert "label loss exceeds its teacher" in most_different({**document(), "by": "loss"}, SELECTION)


def test_examples_of_another_student_are_not_shown() -> None:
    assert most_different(document("t0002"), SELECTION) == ""
    assert most_different(document(), None) == most_different(None, SELECTION) == ""
    assert most_different({"trial": "t0001", "confusions": {}}, SELECTION) == "", "the task shows no examples"
