"""RKD: distances and angles by their definition, their invariances, coinciding examples and large batches."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from tutelage.losses import rkd
from tutelage.networks.output import Outline, Output, Stage

DISTANCES, ANGLES, BOTH = (1.0, 0.0), (0.0, 1.0), (25.0, 50.0)
EQUILATERAL = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.double)
IN_A_LINE = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.double)


def loss_of(student: Tensor, teacher: Tensor, weights: tuple[float, float] = BOTH) -> Tensor:
    outlines = [Outline(classes=3, stages=(Stage(name="stage1", grid=(), channels=x.shape[1]),)) for x in (student, teacher)]
    loss = rkd.build(rkd.Config(distance=weights[0], angle=weights[1]), 1.0, *outlines)
    value: Tensor = loss(*(Output(logits=torch.zeros(len(x), 1, 3), pooled={"stage1": x}) for x in (student, teacher)))
    return value


def huber(difference: Tensor) -> float:
    size = abs(float(difference))
    return size**2 / 2 if size < 1 else size - 0.5


def cosine(examples: Tensor, i: int, j: int, k: int) -> Tensor:
    a, b = examples[j] - examples[i], examples[k] - examples[i]
    return a @ b / (a.norm() * b.norm()).clamp(min=1e-300)


def test_the_loss_is_its_formula_over_all_pairs_and_triples() -> None:
    own, known = torch.randn(6, 4, dtype=torch.double), 9 * torch.randn(6, 7, dtype=torch.double)
    means = [sum((a - b).norm() for a, b in product(x, x)) / (6 * 5) for x in (own, known)]
    pairs = list(product(range(6), repeat=2))
    distances = [huber((own[i] - own[j]).norm() / means[0] - (known[i] - known[j]).norm() / means[1]) for i, j in pairs]
    angles = [huber(cosine(own, *triple) - cosine(known, *triple)) for triple in product(range(6), repeat=3)]
    assert loss_of(own, known, DISTANCES).item() == pytest.approx(sum(distances) / 6**2)
    assert loss_of(own, known, ANGLES).item() == pytest.approx(sum(angles) / 6**3)


def test_a_triangle_and_a_line() -> None:
    """Distances 1, 1, 1 and 3/4, 3/4, 3/2; cosines 1/2, 1/2, 1/2 and 1, -1, 1: each twice among 9 pairs and 27 triples."""
    distances, angles = 2 * (1 / 32 + 1 / 32 + 1 / 8) / 9, 2 * (1 / 8 + 1 + 1 / 8) / 27
    assert loss_of(IN_A_LINE, EQUILATERAL).item() == pytest.approx(25 * distances + 50 * angles)


def test_the_loss_is_invariant_to_rotation_shift_and_one_scale() -> None:
    known = torch.randn(8, 4, dtype=torch.double)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.double))
    moved = 3 * known @ rotation[:4] + 5
    assert loss_of(moved, known) < 1e-24
    assert loss_of(known * torch.tensor([1.0, 1.0, 1.0, 2.0]), known) > 1e-3


def test_examples_far_from_the_origin_keep_their_distances_in_single_precision() -> None:
    own, known = torch.randn(32, 16), torch.randn(32, 16)
    assert loss_of(own + 1e3, known).item() == pytest.approx(loss_of(own, known).item(), rel=1e-3)


@pytest.mark.parametrize("same", [2, 6])
def test_coinciding_examples_have_finite_gradients(same: int) -> None:
    own = torch.randn(6, 4)
    own[:same] = own[0].clone()
    own.requires_grad_()
    value = loss_of(own, torch.randn(6, 7))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite() and own.grad is not None and own.grad.abs().max() < 100


def test_two_examples_have_loss_0() -> None:
    assert loss_of(IN_A_LINE[:2], EQUILATERAL[:2]) == loss_of(IN_A_LINE[:1], EQUILATERAL[:1]) == 0


def test_angles_are_limited_to_sixty_four_examples() -> None:
    own, known, kept = torch.randn(256, 32, requires_grad=True), torch.randn(256, 32), list[int]()

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss_of(own, known, ANGLES)
    value.backward()  # type: ignore[no-untyped-call]
    assert max(kept) <= 64**3 < 256**2 * 32
    assert own.grad is not None and own.grad[:64].any(dim=1).all() and not own.grad[64:].any()
    torch.testing.assert_close(value, loss_of(own[:64], known[:64], ANGLES))
    assert loss_of(own, known, DISTANCES) != loss_of(own[:64], known[:64], DISTANCES)
