"""The front as a plot of characters."""

from __future__ import annotations

from dataclasses import replace

from tests.dashboard.records import Make
from tutelage.objectives import objective
from tutelage.report.text_plot import front_plot, in_encoding

OBJECTIVES = (objective("accuracy"), replace(objective("params"), reference=1e6))
TEACHER = {"accuracy": 0.9, "params": 1e5}


def test_marks_stand_at_their_places_on_a_logarithmic_axis(make_record: Make) -> None:
    records = [
        make_record(0, accuracy=0.5, params=10.0), make_record(1, accuracy=0.7, params=1000.0),
        make_record(2, accuracy=0.5, params=1000.0), make_record(3, "failed"),
    ]  # fmt: skip
    assert front_plot(records, OBJECTIVES, TEACHER, 49, 8) == [
        "       accuracy",
        "0.9000 │                                        ★",
        "       │",
        "       │                    ●",
        "       │",
        "0.5000 │●                   ·",
        "       └─────────────────────────────────────────",
        "        10        parameters, log         100,000",
    ]


def test_the_fronts_mark_is_shown_where_several_are(make_record: Make) -> None:
    records = [make_record(n, accuracy=a, params=100.0) for n, a in enumerate([0.9, 0.9, 0.9])]
    text = "".join(front_plot(records, OBJECTIVES, {"accuracy": 0.9, "params": 100.0}, 30, 8))
    assert text.count("●") == 1 and "★" not in text and "·" not in text


def test_no_student_gives_no_plot(make_record: Make) -> None:
    assert front_plot([], OBJECTIVES, TEACHER, 60, 12) == []
    assert front_plot([make_record(0, "failed")], OBJECTIVES, TEACHER, 60, 12) == []


def test_it_fits_into_its_size(make_record: Make) -> None:
    records = [make_record(n, accuracy=n / 40, params=10.0 + n) for n in range(40)]
    for width, height in ((24, 6), (60, 12), (100, 30)):
        lines = front_plot(records, OBJECTIVES, TEACHER, width, height)
        assert len(lines) == height
        assert max(map(len, lines)) <= width


def test_long_numbers_leave_room_for_the_plot(make_record: Make) -> None:
    records = [make_record(n, accuracy=n / 4, params=10.0 + n, macs=10.0 ** (18 + n)) for n in range(3)]
    lines = front_plot(records, (objective("macs"), OBJECTIVES[1]), {}, 24, 6)
    assert "●" in "".join(lines)


def test_an_encoding_without_its_marks_has_others(make_record: Make) -> None:
    records = [make_record(0, accuracy=0.7, params=10.0), make_record(1, accuracy=0.5, params=1000.0)]
    lines = front_plot(records, OBJECTIVES, TEACHER, 49, 8)
    assert in_encoding(lines, "utf-8") == lines
    plain = "\n".join(in_encoding(lines, "latin-1"))
    assert plain.isascii() and [plain.count(mark) for mark in "*.T|+"] == [1, 3, 1, 5, 1]
