"""The contract of stopping rules, checked for every rule: what a search relies on, live and after a resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.search.rule_contexts import rule_context
from tutelage import plugins
from tutelage.records.trial import Suggestion, TrialRecord
from tutelage.search.rules import Judge

RULES = plugins.names("rules")
Make = Callable[..., TrialRecord]
EPOCHS = (1, 3, 9, 27)


def judge_of(reference: Any) -> Judge:
    _, plugin, config = plugins.configure("rules", reference)
    judge: Judge = plugin.build(config, rule_context())
    return judge


def suggestion(number: int, size: float) -> Suggestion:
    return Suggestion(number=number, config={}, params={"n": number}, sizes={"params": float(size)})


def students() -> list[tuple[Suggestion, list[dict[str, float]]]]:
    """Return students in the order in which they come, with their accuracy after each rung and after the last epoch."""
    generator = np.random.default_rng(3)
    found = []
    for number in range(40):
        end = generator.uniform(0.4, 0.95)
        rows = [{"epoch": float(e), "accuracy": end * (1 - 0.5 / e), "train_loss": 1.0, "step_s": 1.0} for e in EPOCHS]
        found.append((suggestion(number, generator.uniform(10, 1000)), rows))
    return found


def trained(judge: Judge, coming: list[Any], make_record: Make) -> tuple[list[str], list[TrialRecord]]:
    """Train one student after the other until it is stopped, paused or finished; return all decisions and their records."""
    decisions: list[str] = []
    records = []
    for student, rows in coming:
        state, seen = "finished", []
        for row in rows:
            seen.append(row)
            if row["epoch"] == EPOCHS[-1]:
                break
            decisions.append(judge.judge(student, row))
            if decisions[-1] != "continue":
                state = {"stop": "stopped", "pause": "paused"}[decisions[-1]]
                break
        measures = {"accuracy": seen[-1]["accuracy"], **student.sizes} if state == "finished" else {}
        record = replace(
            make_record(student.number, state, **measures), params=student.params, sizes=student.sizes, curve=tuple(seen)
        )
        judge.learn(record)
        records.append(record)
    return decisions, records


@pytest.mark.parametrize("name", RULES)
def test_a_rule_ends_some_students_and_pauses_only_if_it_declares_pauses(name: str, make_record: Make) -> None:
    judge = judge_of(name)
    assert judge.rungs == {1, 3, 9}
    decisions, _ = trained(judge, students(), make_record)
    assert {"continue"} < set(decisions) <= {"continue", "pause" if judge.pausing else "stop"}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_decides_the_same_after_a_resume(name: str, make_record: Make) -> None:
    live, resumed = judge_of(name), judge_of(name)
    _, records = trained(live, students()[:25], make_record)
    resumed.resume(records)
    rest = students()[25:]
    assert trained(live, rest, make_record)[0] == trained(resumed, rest, make_record)[0]
    further = [
        [again.number if (again := judge.promoted(is_last=True)) else None for _ in range(5)] for judge in (live, resumed)
    ]
    assert further[0] == further[1]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_never_ends_a_student_of_unknown_size(name: str) -> None:
    judge = judge_of(name)
    for number in range(30):
        judge.judge(suggestion(number, 10.0), {"epoch": 1.0, "accuracy": 0.9})
    unknown = Suggestion(number=99, config={}, params={"n": 99})
    assert judge.judge(unknown, {"epoch": 1.0, "accuracy": 0.1}) == "continue"
