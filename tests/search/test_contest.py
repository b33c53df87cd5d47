import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks import contest, peers
from tests.benchmarks.grounds import Recorded, Textbook
from tests.benchmarks.problems import PROBLEMS
from tutelage.spec import loading
from tutelage.spec.domains import any_value

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
EPOCHS = 27


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A table of 60 random configs of the digits' space, two seeds each, with curves that fall at a pace of their own."""
    generator, space = random.Random(0), loading.load(BENCHMARKS / "digits_record.yaml").space
    rows = []
    for config in range(60):
        params = space.resolve(lambda name, domain: any_value(generator, domain))[1]
        size, end = 10 ** generator.uniform(2, 5), generator.uniform(0.01, 0.5)
        for seed in range(2):
            errors = {f"error_{t}": end + (0.9 - end) / t + 0.001 * seed for t in range(1, EPOCHS + 1)}
            shown = {f"config.{name}": value for name, value in params.items()}
            rows.append({"config": config, "seed": seed, **shown, "params": size, "epoch_s": 1.0 + config / 60, **errors})
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    pd.DataFrame(rows).to_parquet(path, index=False)
    return Recorded(path, BENCHMARKS / "digits_record.yaml", num_judged=359)


class Half(contest.Never):
    """A stopping rule that stops every second student after its first epoch."""

    def goes_on(self, number, known, error, epoch):
        return number % 2 == 0

    def finished(self, number, known, errors):
        assert number % 2 == 0


def raced(ground, stops, budget, seed=0):
    return contest.compete(ground, peers.Arrivals(ground, seed), stops, budget=budget, workers=2, seed=seed)


def test_a_recorded_config_is_nearest_to_itself(ground):
    for row, params in enumerate(ground._configs):
        assert ground.nearest(params) == row


def test_the_nearest_config_has_the_same_branches_and_is_near_in_the_logarithm(ground):
    params = next(p for p in ground._configs if p["student.model"] == "mlp")
    found = ground._configs[ground.nearest({**params, "student.learning_rate": params["student.learning_rate"] * 1.001})]
    assert found == params


def test_a_search_of_the_whole_table_finds_the_whole_volume_and_front(ground):
    run = raced(ground, contest.Never(), budget=60 * EPOCHS)
    row = contest.row_of(ground, "random", run, budget=60 * EPOCHS, workers=2, seed=0)
    assert row["finished"] == 60 and row["epochs"] == 60 * EPOCHS
    assert row["volume"][-1] == pytest.approx(1) and row["front"] == 1
    assert row["volume"] == sorted(row["volume"])


def test_a_search_ends_with_its_budget_and_running_trials_do_not_count(ground):
    run = raced(ground, contest.Never(), budget=3 * EPOCHS)
    assert run.epochs == 3 * EPOCHS
    assert len(run.finished) == 2


def test_a_stopped_student_costs_its_epochs_and_does_not_count(ground):
    run = raced(ground, Half(), budget=10**6)
    assert (len(run.finished), len(run.stopped)) == (30, 30)
    assert run.epochs == 30 * EPOCHS + 30
    assert {epoch for epoch, _ in run.stopped} == {1}
    finished = {student.row for _, student in run.finished}
    assert finished.isdisjoint(student.row for _, student in run.stopped)


def test_searches_with_the_same_seed_draw_from_the_same_students(ground):
    one, other = (raced(ground, stops, budget=10**6, seed=3) for stops in (contest.Never(), Half()))
    errors = {student.row: student.errors for _, student in one.finished}
    assert all(np.array_equal(errors[student.row], student.errors) for _, student in other.finished)


@pytest.mark.parametrize("name", ["stock", "tpe", "ray-asha", "random + dominance", "tpe + dominance", "tpe + promotion"])
def test_every_search_runs_and_depends_on_its_seed_alone(ground, name):
    from contextlib import ExitStack

    found = []
    for _ in range(2):
        with ExitStack() as later:
            suggests, stops = peers.SEARCHES[name](ground, 1, later, Path())
            run = contest.compete(ground, suggests, stops, budget=12 * EPOCHS, workers=2, seed=1)
        found.append([student.row for _, student in run.finished])
    assert found[0] == found[1] and found[0]


def test_a_textbook_run_is_measured_against_the_true_front():
    ground = Textbook(PROBLEMS["dtlz2"])
    row = contest.row_of(ground, "random", raced(ground, contest.Never(), budget=810), budget=810, workers=2, seed=0)
    assert 0 < row["volume"][-1] < 1 and row["front"] is None


def test_a_summary_pairs_runs_by_seed(ground):
    rows = [
        {**contest.row_of(ground, name, raced(ground, stops, 540, seed), budget=540, workers=2, seed=seed)}
        for seed in range(3)
        for name, stops in (("random", contest.Never()), ("half", Half()))
    ]
    lines = {line["search"]: line for line in contest.summary(rows, "random")}
    mean = np.mean([100 * (b["volume"][-1] - a["volume"][-1]) for a, b in zip(rows[::2], rows[1::2], strict=True)])
    assert lines["half"]["volume − random"].startswith(f"{mean:+.1f} (")
    assert lines["random"]["volume − random"] == ""
