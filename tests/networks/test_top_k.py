"""Sparse label sequences: exact over their bins at every temperature, with the stated error within the other classes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.losses import kd
from tutelage.networks import top_k
from tutelage.networks.output import Outline, Output

CLASSES, K = 100, 8


def logits(seed: int, scale: float = 3.0, classes: int = CLASSES) -> torch.Tensor:
    return scale * torch.randn(40, 2, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def stored(z: torch.Tensor, k: int, dtype: torch.dtype = torch.float16) -> top_k.TopClasses:
    parts = top_k.compressed(z, k)
    return top_k.restored({part: t if part == "classes" else t.to(dtype) for part, t in parts.items()})


def error_nats(z: torch.Tensor, top: top_k.TopClasses, temperature: float) -> float:
    """Return the largest KL(exact ‖ stored) over the k + 1 bins of any step."""
    exact = top_k.coarse_log_probabilities(z, top.classes, temperature)
    found = top.log_probabilities(temperature)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(found.shape[:-1]), atol=1e-5, rtol=0)
    return (exact.exp() * (exact - found)).sum(-1).max().item()


@pytest.mark.parametrize("temperature", [0.05, 0.2, 0.5, 1.0, 1.7, 4.0, 9.0, 20.0, 50.0, 1000.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 10.0])
def test_40_bytes_store_100_classes_within_a_hundredth_of_a_nat_at_every_temperature(temperature: float, scale: float) -> None:
    z = logits(0, scale)
    assert 3 * K + 4 * top_k.NUM_POINTS == 40 and top_k.index_dtype(CLASSES) == "uint8"
    usual = 1.0 <= temperature <= 20.0 and scale <= 3.0
    assert error_nats(z, stored(z, K), temperature) < (2e-6 if usual else 1e-2)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.0, 7.0, 100.0])
@pytest.mark.parametrize("gap", [0.01, 1.0, 20.0, 100.0])
@pytest.mark.parametrize("equal", [1, 2, 9, 12, 60])
def test_others_of_few_different_logits_are_exact_at_every_temperature(equal: int, gap: float, temperature: float) -> None:
    """Nine equal classes of a hundred leave one of them among the others of k = 8."""
    z = torch.full((1, 1, CLASSES), -gap, dtype=torch.double)
    z[..., :equal] = 0.0
    z[..., -3:] = -1.5 * gap
    assert abs(error_nats(z, stored(z, K, torch.float32), temperature)) < 1e-6


of_any_step = given(
    k=st.integers(1, 9), scale=st.floats(0.0, 100), seed=st.integers(0, 1000), temperature=st.floats(0.05, 1000)
)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@of_any_step
def test_the_mass_of_the_others_is_exact_at_the_reference_too_large_below_and_too_small_above(
    k: int, scale: float, seed: int, temperature: float
) -> None:
    """Below the reference, it is at most the mass at the reference, all of it at the largest gap."""
    z = logits(seed, scale, 10)
    others = z.sort(-1, descending=True).values[..., k:] - z.amax(-1, keepdim=True)
    largest, reference = others[..., 0], ((others[..., 0] - others[..., -1]) / 16).clamp(min=2.0)
    top, rounding = stored(z, k, torch.float32), 1e-5 * (1 + z.abs().amax(-1) / temperature)

    def mass(at: torch.Tensor) -> torch.Tensor:
        return (others / at.unsqueeze(-1)).logsumexp(-1)

    exact, found = mass(torch.tensor(temperature)), top.tail(temperature)
    most = mass(reference) + (1 / temperature - 1 / reference) * largest
    is_below = temperature < reference
    assert torch.where(is_below, found >= exact - rounding, found <= exact + rounding).all()
    assert torch.where(is_below, found <= most + rounding, found >= largest / temperature - rounding).all()
    at_reference = torch.stack([top.tail(float(one)).flatten()[i] for i, one in enumerate(reference.flatten())])
    torch.testing.assert_close(at_reference.double(), mass(reference).flatten(), rtol=1e-5, atol=1e-5)


def test_a_sparse_divergence_is_below_the_dense_one_by_that_of_the_others() -> None:
    """KL(p ‖ q) = KL over k + 1 bins + r · KL(p's others ‖ q's others), the chain rule: the stated error of the loss."""
    for temperature in (1.0, 4.0):
        teacher, student = logits(1), logits(2)
        top = stored(teacher, K, torch.float64)
        p, q = ((z / temperature).log_softmax(-1) for z in (teacher, student))
        whole = (p.exp() * (p - q)).sum(-1)
        coarse_p, coarse_q = (top_k.coarse_log_probabilities(z, top.classes, temperature) for z in (teacher, student))
        coarse = (coarse_p.exp() * (coarse_p - coarse_q)).sum(-1)
        others_p, others_q = (
            z.scatter(-1, top.classes, float("-inf")) - c[..., -1:] for z, c in ((p, coarse_p), (q, coarse_q))
        )
        within = (others_p.exp() * (others_p - others_q).nan_to_num(nan=0.0)).sum(-1)
        torch.testing.assert_close(whole, coarse + coarse_p[..., -1].exp() * within)
        assert (coarse <= whole + 1e-12).all()


@settings(deadline=None, max_examples=50)
@of_any_step
def test_at_one_temperature_the_mass_of_the_others_is_one_number_and_exact(
    k: int, scale: float, seed: int, temperature: float
) -> None:
    z = logits(seed, scale, 10)
    parts = top_k.compressed(z, k, temperature)
    assert parts.keys() == {"classes", "gaps"} and parts["gaps"].shape[-1] == k
    found, whole = top_k.restored(parts), top_k.restored(top_k.compressed(z, k))
    assert torch.equal(found.gaps, whole.gaps) and not found.gaps[..., 0].any()
    exact = top_k.coarse_log_probabilities(z, found.classes, temperature)
    torch.testing.assert_close(found.log_probabilities(temperature).double().exp(), exact.exp(), rtol=1e-4, atol=1e-6)


def test_at_one_temperature_four_of_65_classes_take_less_than_a_tenth_of_the_dense_bytes_within_1e_5_nats() -> None:
    z = logits(0, 3.0, 65)
    parts = top_k.compressed(z, 4, 1.0)
    bytes_of_a_step = sum(part.shape[-1] * (1 if name == "classes" else 2) for name, part in parts.items())
    assert bytes_of_a_step == 12 < 0.1 * 2 * 65
    top = top_k.restored({name: part if name == "classes" else part.half() for name, part in parts.items()})
    assert error_nats(z, top, 1.0) < 1e-5


def loss(temperature: float, teacher: Output, student: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = kd.build(kd.Config(), temperature, Outline(classes=CLASSES), Outline(classes=CLASSES))(
        Output(logits=student), teacher
    )
    return found


def test_sparse_soft_targets_are_those_over_the_bins_and_exact_for_uniform_others() -> None:
    teacher = logits(3)
    classes = teacher.topk(K, dim=-1).indices
    even = teacher.scatter(-1, classes, 0.0)
    even = torch.where(even == 0.0, teacher, torch.full_like(teacher, -6.0))  # all other classes are alike
    same_elsewhere = logits(4).scatter(-1, classes, 0.0)
    student = torch.where(same_elsewhere == 0.0, logits(5), torch.full_like(teacher, -1.0))
    sparse = Output(logits=torch.empty(0), top=stored(even, K, torch.float64))
    for temperature in (1.0, 4.0):
        whole = loss(temperature, Output(logits=even), student)
        torch.testing.assert_close(loss(temperature, sparse, student).double(), whole, rtol=1e-4, atol=1e-6)


def test_a_student_equal_to_its_teacher_has_loss_0_with_sparse_knowledge() -> None:
    teacher = logits(6)
    student = teacher.clone().requires_grad_()
    value = loss(4.0, Output(logits=torch.empty(0), top=stored(teacher, K, torch.float32)), student)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.abs() < 1e-5 and student.grad is not None and student.grad.abs().max() < 1e-4


def test_a_student_with_probability_1_for_a_class_has_a_finite_loss() -> None:
    student = torch.zeros(40, 2, CLASSES).index_fill(-1, torch.tensor([5]), 1e4).requires_grad_()
    value = loss(1.0, Output(logits=torch.empty(0), top=stored(logits(7), K)), student)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite() and student.grad is not None and student.grad.isfinite().all()


@settings(deadline=None, max_examples=30)
@given(k=st.integers(1, 19), classes=st.integers(21, 60), scale=st.floats(0.01, 20), temperature=st.floats(1, 20))
def test_the_sparse_divergence_grows_with_k(k: int, classes: int, scale: float, temperature: float) -> None:
    """A coarser divergence is never larger (data processing inequality), so it grows with k towards the dense one."""
    teacher, student = logits(8, scale, classes), logits(9, scale, classes)
    values = []
    for kept in (k, k + 1):
        top = stored(teacher, kept, torch.float64)
        p, q = (top_k.coarse_log_probabilities(z, top.classes, temperature) for z in (teacher, student))
        values.append((p.exp() * (p - q)).sum(-1))
    assert (values[0] <= values[1] * (1 + 1e-6) + 1e-9).all()


@pytest.mark.parametrize(("classes", "kind"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65_537, "int32")])
def test_classes_are_numbered_in_the_smallest_type(classes: int, kind: str) -> None:
    assert top_k.index_dtype(classes) == kind
