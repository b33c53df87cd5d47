"""Promotion: which students pause, which continue, and that the epochs stay within the share."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.search import promotion
from tutelage.search.promotion import Student


class Promotion(promotion.Promotion):
    """The rule, for students that leave their workers as soon as they pause."""

    def pauses(self, key: int, rung: int, student: Student, error: float) -> bool:
        is_paused = super().pauses(key, rung, student, error)
        if is_paused:
            self.paused(key)
        return is_paused


def student(size: float = 1.0, trait: float = 0.5) -> Student:
    return Student(known=np.array([size]), whole=np.array([size]), traits=np.array([trait]))


def trained(rule: Promotion, ends: dict[int, tuple[float, float]]) -> None:
    """Let students finish: by key, size and end; at every rung each is 0.5 above its end."""
    for key, (size, end) in ends.items():
        for rung in rule.rungs:
            rule.pauses(key, rung, student(size), end + 0.5)
        rule.finished(key, student(size), end)


def test_the_first_students_are_never_paused_and_all_others_are() -> None:
    rule = Promotion(rungs=(1, 3), max_epochs=9, share=0.5, num_students=100, startup=3)
    assert [rule.pauses(key, 1, student(), -0.5) for key in (4, 8, 2, 5, 1)] == [False, False, False, True, True]
    assert not rule.pauses(8, 3, student(), -0.6), "one of the first is not paused at a later rung either"


@pytest.mark.parametrize(("share", "num_students", "first"), [(0.2, 10, 5), (0.2, 300, 12), (0.2, 5000, 20), (0.2, None, 12)])
def test_the_number_of_first_students(share: float, num_students: int | None, first: int) -> None:
    assert Promotion(rungs=(1,), max_epochs=9, share=share, num_students=num_students).startup == first


def test_the_best_student_at_the_rung_is_promoted_first_and_no_dominated_one() -> None:
    rule = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=30, startup=8)
    trained(rule, {key: (1 + key / 8, -0.5 - key / 10) for key in range(8)})
    for key in range(10, 22):
        assert rule.pauses(key, 1, student(2.0), 0.5 - key / 20)  # the later, the better
    assert rule.promoted(is_last=True) == 21
    assert rule.promoted(is_last=True) == 20
    assert rule.promoted(is_last=True) != 10, "it would end far above what has finished"


@pytest.mark.slow
def test_no_student_is_lost_and_the_epochs_stay_within_the_share_in_any_order() -> None:
    for seed in range(3):
        generator = np.random.default_rng(seed)
        rule = Promotion(rungs=(1, 3), max_epochs=9, share=0.4, num_students=60, startup=6)
        trained(rule, {key: (float(generator.uniform(1, 3)), float(generator.uniform(-2, -1))) for key in range(6)})
        for key in generator.permutation(np.arange(6, 60)).tolist():
            rule.pauses(
                key, 1, student(float(generator.uniform(1, 3)), float(generator.uniform())), float(generator.uniform(-1, 0))
            )
        went_on = 0
        while (key := rule.promoted(is_last=True)) is not None:
            one = rule.students[key]
            assert not one.is_paused
            if one.epochs == 9:
                rule.finished(key, one, one.errors[max(one.errors)] - 0.5)
                went_on += 1
            else:
                rule.pauses(key, one.epochs, one, min(one.errors.values()) - 0.1)
        spent = sum(one.epochs for one in rule.students.values())
        assert went_on and spent <= 0.4 * 60 * 9 + 9
        assert all(one.is_paused == (one.end is None) for one in rule.students.values())


def test_new_students_precede_paused_ones_until_several_are_paused_and_some_have_finished() -> None:
    rule = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=None, startup=5)
    for key in range(5, 30):
        rule.pauses(key + 100, 1, student(), -0.5)
    assert rule.promoted(is_last=False) is None and rule.promoted(is_last=True) is None, "nobody has finished"
    other = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=None, startup=5)
    trained(other, {key: (1.0, -0.5 - key / 50) for key in range(5)})
    other.pauses(50, 1, student(0.5), -1.0)
    assert other.promoted(is_last=False) is None, "one is no choice while new ones come"
    assert other.promoted(is_last=True) == 50


def test_nobody_is_promoted_before_five_have_finished() -> None:
    rule = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=20, startup=8)
    trained(rule, {key: (1.0, -0.5 - key / 50) for key in range(4)})
    for key in range(4, 9):
        rule.pauses(key, 1, student(0.5), -1.0)
    assert rule.promoted(is_last=True) is None
    rule.finished(4, student(0.5), -1.2)
    assert rule.promoted(is_last=True) is not None


def test_a_student_that_paused_twice_is_not_promoted_again_while_it_pauses_at_its_next_rung() -> None:
    """Its worker was lost as it paused, so that it is scored twice; at the next rung its state is still being written."""
    rule = Promotion(rungs=(1, 3), max_epochs=9, share=1.0, num_students=20, startup=5)
    trained(rule, {key: (1.0, -0.5 - key / 50) for key in range(5)})
    rule.pauses(7, 1, student(0.5), -1.0)
    rule.paused(7)
    assert rule.promoted(is_last=True) == 7
    assert promotion.Promotion.pauses(rule, 7, 3, student(0.5), -1.1)
    assert rule.promoted(is_last=True) is None
    rule.paused(7)
    assert rule.promoted(is_last=True) == 7


def test_a_last_student_may_spend_what_the_students_that_did_not_come_would_have() -> None:
    """18 of 24 students came: six have finished and twelve pause after one epoch, which is 66 of 216 epochs."""
    for is_last in (False, True):
        rule = Promotion(rungs=(1,), max_epochs=9, share=0.35, num_students=24, startup=6)
        trained(rule, {key: (1 + key / 8, -0.5 - key / 10) for key in range(6)})
        for key in range(6, 18):
            assert rule.pauses(key, 1, student(2.0), -0.5)
        assert (rule.promoted(is_last=is_last) is not None) is is_last


def test_an_outlier_among_the_results_prevents_no_promotion() -> None:
    """The results are noise around -1 for all sizes, with one outlier: a student like the others is still promoted."""
    generator = np.random.default_rng(0)
    rule = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=60, startup=40)
    for key in range(40):
        one = student(1.0, float(generator.random()))
        end = -2.0 if key == 20 else float(generator.normal(-1, 0.1))
        rule.pauses(key, 1, one, -0.5)
        rule.finished(key, one, end)
    rule.pauses(50, 1, student(1.0), -0.5)
    assert rule.promoted(is_last=True) == 50


def test_a_failed_student_is_neither_promoted_nor_learned_from() -> None:
    rule = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=20, startup=5)
    trained(rule, {key: (1.0, -0.5 - key / 50) for key in range(5)})
    rule.pauses(7, 1, student(0.5), -1.0)
    rule.discarded(7)
    rule.discarded(8)
    assert rule.promoted(is_last=True) is None


def test_a_promoted_student_that_restarts_continues_to_the_rung_of_its_promotion() -> None:
    rule = Promotion(rungs=(1, 3), max_epochs=9, share=1.0, num_students=20, startup=5)
    trained(rule, {key: (1.0, -0.5 - key / 50) for key in range(5)})
    rule.pauses(7, 1, student(0.5), -1.0)
    assert rule.promoted(is_last=True) == 7
    assert not rule.pauses(7, 1, student(0.5), -1.0)
    assert rule.pauses(7, 3, student(0.5), -1.1)


def test_no_student_is_promoted_once_the_share_of_all_epochs_is_spent() -> None:
    """Twelve students of nine epochs each: six have finished and six pause after one, which is 60 of 108 epochs."""
    for share, is_promoted in ((0.5, False), (0.6, True)):
        rule = Promotion(rungs=(1,), max_epochs=9, share=share, num_students=12, startup=6)
        trained(rule, {key: (1 + key / 8, -0.5 - key / 10) for key in range(6)})
        for key in range(6, 12):
            assert rule.pauses(key, 1, student(2.0), -0.5)
        assert (rule.promoted(is_last=True) is not None) is is_promoted


def test_an_abandoned_student_is_subtracted_from_the_sums() -> None:
    rule = Promotion(rungs=(1,), max_epochs=9, share=1.0, num_students=30, startup=1)
    rule.pauses(0, 1, student(), -0.5)
    rule.pauses(1, 1, student(), -0.5)
    assert (rule._num_paused, rule._epochs) == (1, 2)
    rule.discarded(1)
    rule.discarded(7)
    assert (rule._num_paused, rule._epochs) == (0, 1)


def test_a_student_that_was_paused_pauses_at_its_next_rung_too() -> None:
    """It reached its rung first, and was none of the first in the search that is resumed."""
    rule = Promotion(rungs=(1, 3), max_epochs=9, share=1.0, num_students=20, startup=1)
    assert not rule.pauses(0, 1, student(), -0.5)
    rule.restored(0, is_paused=True)
    assert not rule.pauses(1, 1, student(), -0.5)
    rule.restored(0, is_paused=False)
    assert rule.students[0].epochs == 3 and rule.pauses(0, 3, student(), -0.6)
