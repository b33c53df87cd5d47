"""A matrix shows few classes, a list the most frequent confusions of many, and the names of classes are escaped."""

from __future__ import annotations

from typing import Any

from tutelage.report.confusion_sections import LISTED, MOST_CLASSES, confused


def document(classes: list[str], student: list[list[int]], teacher: list[list[int]], name: str = "class") -> dict[str, Any]:
    counts = {"classes": classes, "student": student, "teacher": teacher}
    return {"split": "validation", "compared": 2000, "sequences": {name: counts}}


def test_a_matrix_has_a_row_for_each_label_and_the_share_of_the_row_as_colour() -> None:
    shown = confused(document(["cat", "<b>"], [[0, 0, 4], [0, 1, 1], [1, 1, 4]], [[0, 0, 12], [1, 1, 4]]))
    row = '<tr><th>cat</th><td style="background:rgba(0,114,178,0.52)">4</td><td style="background:rgba(230,120,0,0.22)">1</td>'
    assert row in shown and '<tr><th>&lt;b&gt;</th><td></td><td style="background:rgba(0,114,178,0.62)">4</td>' in shown
    assert (
        "<b>" not in shown
        and shown.index("<caption>student") < shown.index("<caption>teacher")
        and "2,000 validation examples" in shown
    )


def test_of_many_classes_the_most_frequent_confusions_are_listed_beside_the_teachers() -> None:
    classes = [f"c{number}" for number in range(MOST_CLASSES + 20)]
    wrong = [[number, 0, 40 - number] for number in range(1, LISTED + 5)]
    shown = confused(document(classes, [[0, 0, 99], *wrong], [[1, 0, 7]]))
    assert "<td>c1</td><td>c0</td><td>39</td><td>7</td>" in shown and "<td>c2</td><td>c0</td><td>38</td><td>0</td>" in shown
    assert shown.count("<td>c0</td>") == LISTED
    total = sum(count for *_, count in wrong)
    assert f"{total:,} of the student's {total + 99:,} predictions are wrong" in " ".join(shown.split()).replace("&#x27;", "'")
    assert "are all correct" in confused(document(classes, [[0, 0, 99]], []))


def test_without_labels_there_is_no_section() -> None:
    assert confused(None) == "" and confused(document(["a", "b"], [], [])) == ""
