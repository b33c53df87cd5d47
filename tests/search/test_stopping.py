"""Early stopping in a sweep's own terms, and on a recorded table with a fake clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tutelage import objectives
from tutelage.errors import InputError
from tutelage.record import TrialRecord
from tutelage.search import replay
from tutelage.search.rungs import Array, Dominance, Halving
from tutelage.search.sampler import Draw
from tutelage.search.stopping import Stopping, rule_of, rungs_of
from tutelage.spec_sections import StoppingConfig

ASKED = [objectives.objective("params"), objectives.objective("accuracy")]


class Heard:
    """A rule that writes down what it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[float], float]] = []
        self.ends: list[tuple[list[float], dict[int, float], float]] = []

    def stops(self, rung: int, known: Array, error: float) -> bool:
        self.asked.append((rung, known.tolist(), pytest.approx(error)))
        return True

    def finished(self, known: Array, errors: Mapping[int, float], last: float) -> None:
        self.ends.append((known.tolist(), dict(errors), last))


def test_rungs_are_a_factor_apart_and_end_before_the_last_epoch() -> None:
    assert rungs_of(StoppingConfig(), 27) == {1, 3, 9}
    assert rungs_of(StoppingConfig(), 28) == {1, 3, 9, 27}
    assert rungs_of(StoppingConfig(first_epoch=4, factor=2), 20) == {4, 8, 16}
    assert rungs_of(StoppingConfig(first_epoch=5), 5) == frozenset()
    assert isinstance(rule_of(StoppingConfig(), 100), Dominance)
    assert isinstance(rule_of(StoppingConfig(rule="mo-asha"), 100), Halving)


def test_a_rule_is_asked_in_losses_and_learns_from_finished_trials_only(make_record: Callable[..., TrialRecord]) -> None:
    rule = Heard()
    stopping = Stopping(rule, frozenset({1, 3}), ASKED)
    row = {"epoch": 3, "accuracy": 0.75}
    assert not stopping.is_worth(Draw(number=0, config={}, params={}, sizes={"params": 10.0}), row)
    assert rule.asked == [(3, [10.0], 0.25)]
    assert stopping.is_worth(Draw(number=1, config={}, params={}), row), "training decides its size: it cannot be judged"
    curve = tuple({"epoch": float(e), "accuracy": e / 10} for e in (1, 2, 3, 4))
    ended = replace(make_record(0, accuracy=0.5, params=10.0), curve=curve)
    stopping.learn(ended)
    stopping.learn(replace(ended, state="stopped", measures={}))
    stopping.learn(replace(ended, state="failed"))
    assert rule.ends == [([10.0], {1: 0.9, 3: 0.7}, 0.5)]


def table(count: int = 30, epochs: int = 9, seed: int = 0) -> replay.Table:
    """Students of which larger ones end better, and all learn alike."""
    generator = np.random.default_rng(seed)
    sizes = generator.uniform(1, 4, count)
    ends = 0.5 / sizes + generator.uniform(0, 0.3, count)
    errors = np.minimum(1.0, ends[:, None] * (1 + 1 / np.arange(1, epochs + 1)))
    return replay.Table(known=10 ** sizes[:, None], errors=errors, epoch_s=np.full(count, 2.0), names=("params",))


def test_without_a_rule_all_is_trained_and_the_clock_adds_up() -> None:
    known = table()
    one = replay.replay(known, None, (1, 3), range(30), replay.Cluster(workers=1))
    assert one.finished == tuple(range(30)) and one.epochs == 30 * 9
    assert one.elapsed_s == pytest.approx(30 * 9 * 2.0) and one.busy_share == pytest.approx(1)
    two = replay.replay(known, None, (1, 3), range(30), replay.Cluster(workers=2, start_s=1.0))
    assert two.elapsed_s == pytest.approx(15 * (9 * 2.0 + 1.0)) and two.busy_share == pytest.approx(18 / 19)
    assert replay.judged(known, two) == {"epochs": 1.0, "hypervolume": 1.0, "front": 1.0, "finished": 30}
    lossy = replay.replay(known, None, (1, 3), range(30), replay.Cluster(loss_share=0.2))
    assert sorted(lossy.finished) == list(range(30)) and lossy.epochs > 30 * 9


def test_where_order_at_a_rung_is_order_at_the_end_dominance_loses_nothing_and_saves_much() -> None:
    known = table(300)
    rule = Dominance(num_judged=10**9)
    found = replay.judged(known, replay.replay(known, rule, (1, 3), range(300), replay.Cluster()))
    assert found["hypervolume"] == pytest.approx(1.0, abs=2e-3) and found["epochs"] < 0.4


def test_a_thousand_workers_are_kept_busy() -> None:
    known = table(20_000, 9)
    found = replay.replay(known, None, (1, 3), range(20_000), replay.Cluster(workers=1000))
    assert found.busy_share > 0.95


def test_a_table_is_read_as_it_was_recorded(make_record: Callable[..., TrialRecord], tmp_path: Path) -> None:
    def record(number: int, epochs: int) -> TrialRecord:
        curve = tuple({"epoch": float(e + 1), "accuracy": e / 8, "step_s": 1.0} for e in range(epochs))
        return replace(make_record(number, accuracy=(epochs - 1) / 8, params=float(number)), curve=curve, step_s=2.0 * epochs)

    found = replay.recorded([record(1, 4), record(2, 3), record(3, 4), make_record(4, state="failed")], ASKED)
    assert found.known.tolist() == [[1.0], [3.0]] and found.errors[0].tolist() == [1.0, 0.875, 0.75, 0.625]
    found.write(tmp_path / "table.parquet")
    again = replay.read(tmp_path / "table.parquet")
    for name in ("known", "errors", "epoch_s"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-6)
    assert again.names == ("params",)
    with pytest.raises(InputError, match="nothing to replay"):
        replay.recorded([], ASKED)
