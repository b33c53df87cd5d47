"""DIST: correlations of rows and columns, their invariances, and constant rows and columns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tutelage.losses import dist
from tutelage.networks.output import Outline, Output

PAIR = Outline(classes=5)
generator = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (2 * torch.randn(4, 3, 5, generator=generator, dtype=torch.double) for _ in range(2))
WITHIN, ACROSS = (1.0, 0.0), (0.0, 1.0)


def loss_of(student: Tensor, teacher: Tensor, weights: tuple[float, float] = (2.0, 2.0), temperature: float = 1.0) -> Tensor:
    loss = dist.build(dist.Config(beta=weights[0], gamma=weights[1]), temperature, PAIR, PAIR)
    value: Tensor = loss(Output(logits=student), Output(logits=teacher))
    return value


def correlations(own: Tensor, known: Tensor) -> Tensor:
    """Return the correlation of each row of one matrix with the same row of the other."""
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(own, known, strict=True)])


def test_the_authors_setting_on_cifar_100_weighs_32_times_its_correlations() -> None:
    """Their code adds 2 · T² · (inter + intra) to the label loss, with T = 4 (`DIST_KD`, `dist_t4`)."""
    published = dist.build(dist.Config(), dist.PUBLISHED["temperature"], PAIR, PAIR)
    value = published(Output(logits=STUDENT), Output(logits=TEACHER))
    own, known = ((logits.flatten(0, 1) / 4).softmax(-1) for logits in (STUDENT, TEACHER))
    inter, intra = 1 - correlations(own, known).mean(), 1 - correlations(own.T, known.T).mean()
    share = dist.PUBLISHED["weight"]
    torch.testing.assert_close(share * value / (1 - share), 32 * (inter + intra))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_one_minus_the_mean_correlations_of_rows_and_columns(temperature: float) -> None:
    own, known = ((logits.flatten(0, 1) / temperature).softmax(-1) for logits in (STUDENT, TEACHER))
    within, across = 1 - correlations(own, known).mean(), 1 - correlations(own.T, known.T).mean()
    expected = temperature**2 * (2 * within + 0.5 * across)
    torch.testing.assert_close(loss_of(STUDENT, TEACHER, (2.0, 0.5), temperature), expected)


def test_anticorrelated_students_have_the_largest_loss() -> None:
    assert loss_of(STUDENT[..., :2], STUDENT[..., :2].flip(-1), (2.0, 0.5)).item() == pytest.approx(2 * (2 + 0.5))


def test_the_loss_is_invariant_to_scale_and_shift_of_rows_and_columns() -> None:
    """Rows are mixed with the uniform distribution, each in its own share; columns with one distribution, all in one share."""
    own, value = STUDENT.softmax(-1), {weights: loss_of(STUDENT, TEACHER, weights) for weights in (WITHIN, ACROSS)}
    share = torch.linspace(0.2, 0.9, 12, dtype=torch.double).view(4, 3, 1)
    by_row = (share * own + (1 - share) / 5).log()
    by_column = (0.3 * own + 0.7 * torch.tensor([0.1, 0.2, 0.4, 0.1, 0.2])).log()
    torch.testing.assert_close(loss_of(by_row, TEACHER, WITHIN), value[WITHIN])
    torch.testing.assert_close(loss_of(by_column, TEACHER, ACROSS), value[ACROSS])
    assert not torch.isclose(loss_of(by_row, TEACHER, ACROSS), value[ACROSS])
    assert not torch.isclose(loss_of(by_column, TEACHER, WITHIN), value[WITHIN])


def test_at_high_temperatures_the_loss_is_one_minus_the_correlation_of_logits() -> None:
    """The limit is T² (1 - ρ(z_s, z_t)): no constant is added to the probabilities' spread of about z / (C T)."""
    expected = 1 - correlations(STUDENT.flatten(0, 1), TEACHER.flatten(0, 1)).mean()
    assert loss_of(STUDENT, TEACHER, WITHIN, 1e5).item() / 1e10 == pytest.approx(expected.item(), rel=1e-4)
    assert loss_of(STUDENT.float(), TEACHER.float(), WITHIN, 1e3).item() / 1e6 == pytest.approx(expected.item(), rel=2e-3)


def test_the_loss_across_steps_is_0_for_a_batch_of_one_step() -> None:
    own, known = STUDENT[:1, :1], TEACHER[:1, :1]
    assert loss_of(own, known, ACROSS) == 0
    assert loss_of(own, known, (2.0, 2.0)) == loss_of(own, known, (2.0, 0.0)) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [3, 10, 1000])
def test_constant_teachers_cost_0_and_constant_students_cost_1(dtype: torch.dtype, classes: int) -> None:
    """Constants are detected despite rounding: if 64 rows are equal, the columns are constant too."""
    opinion = torch.randn(64, 1, classes, dtype=dtype)
    for weights, constant in ((WITHIN, torch.full_like(opinion, 0.3)), (ACROSS, opinion[:1].expand_as(opinion))):
        for own, known, expected in ((opinion, constant, 0.0), (constant, opinion, 1.0)):
            free = own.clone().requires_grad_()
            value = loss_of(free, known, weights)
            value.backward()  # type: ignore[no-untyped-call]
            assert value.item() == expected
            assert free.grad is not None and not free.grad.any()
