import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.benchmarks.problems import PROBLEMS, ZDT3_PARTS, Array, Problem
from tutelage import pareto


def front(problem: Problem, steps: int) -> Array:
    """Return points all over a problem's true front: g = 1 for ZDT, g = 0 for DTLZ2."""
    free = len(problem.reference) - 1
    x = np.full((steps**free, problem.num_values), 0.5 if problem.name.startswith("dtlz") else 0.0)
    x[:, :free] = np.stack(np.meshgrid(*[np.linspace(0, 1, steps)] * free), axis=-1).reshape(-1, free)
    known, errors = problem.true(x)
    return problem.natural(known, errors)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda problem: problem.name)
def test_the_closed_form_is_the_limit_of_the_volumes_of_dense_fronts(problem):
    steps = 20_001 if len(problem.reference) == 2 else 161
    found = pareto.hypervolume(front(problem, steps), problem.reference)
    assert found < problem.volume
    assert found == pytest.approx(problem.volume, rel=1e-3 if len(problem.reference) == 2 else 2e-2)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda problem: problem.name)
def test_no_config_is_beyond_the_front_or_the_bounds(problem):
    x = np.random.default_rng(0).random((5000, problem.num_values))
    known, errors = problem.true(x)
    assert ((errors >= 0) & (errors <= 1)).all()
    assert pareto.hypervolume(problem.natural(known, errors), problem.reference) < problem.volume


def test_formulas_at_points_computed_by_hand():
    corner = np.array([[0.25, 0.0, 0.0, 0.0, 0.0, 0.0], [0.25, 1.0, 1.0, 1.0, 1.0, 1.0]])
    assert PROBLEMS["zdt1"].objectives(corner)[:, 1] == pytest.approx([0.5, 10 - np.sqrt(2.5)])
    assert PROBLEMS["zdt2"].objectives(corner)[:, 1] == pytest.approx([1 - 0.0625, 10 - 0.00625])
    assert PROBLEMS["zdt3"].objectives(corner)[:, 1] == pytest.approx([0.5 - 0.25, 10 - np.sqrt(2.5) - 0.25])
    x = np.array([[1 / 3, 0.5, 0.5, 0.5, 0.5, 1.0]])
    assert PROBLEMS["dtlz2"].objectives(x)[0] == pytest.approx([1.25 * np.cos(np.pi / 6), 1.25 * 0.5])
    x = np.array([[1 / 3, 1 / 3, 0.5, 0.5, 0.5, 0.5, 0.5]])
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    assert PROBLEMS["dtlz2-3"].objectives(x)[0] == pytest.approx([cos * cos, cos * sin, sin])


def test_the_parts_of_zdt3_are_those_of_its_formula():
    f = np.linspace(0, 1, 200_001)
    f2 = 1 - np.sqrt(f) - f * np.sin(10 * np.pi * f)
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(f2)[:-1]])
    on_front = f2 < best_before
    starts = f[1:][on_front[1:] & ~on_front[:-1]]
    ends = f[:-1][on_front[:-1] & ~on_front[1:]]
    assert starts == pytest.approx([begin for begin, _ in ZDT3_PARTS[1:]], abs=1e-4)
    assert ends == pytest.approx([end for _, end in ZDT3_PARTS], abs=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda problem: problem.name)
def test_the_order_at_an_early_epoch_correlates_with_the_final_order(problem):
    x = np.random.default_rng(1).random((1000, problem.num_values))
    curves, (_, true) = problem.curves(x, seed=0), problem.true(x)
    told = [spearmanr(curves[:, rung - 1], true).statistic for rung in (1, 3, 9, 27)]
    assert 0.3 < told[0] < told[1] < told[2] < told[3]
    assert told[1] < 0.97
    assert np.abs(curves[:, -1] - true).max() < 6 * problem.noise


def test_a_simulated_training_depends_on_its_seed_alone():
    problem = PROBLEMS["zdt1"]
    x = np.random.default_rng(2).random((5, problem.num_values))
    together = problem.curves(x, seed=3)
    assert np.array_equal(together[2:3], problem.curves(x[2:3], seed=3))
    assert not np.array_equal(together, problem.curves(x, seed=4))
    table = problem.tabulate(50, seed=0)
    assert len(table) == 50 and table.errors.shape == (50, 1, problem.epochs) and table.known.shape == (50, 1)
