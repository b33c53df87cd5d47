"""Weight alignment: invariances of the subspace distance, and matrices matched by name and by depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plain import architecture_of, plain_signature
from tutelage.errors import InputError
from tutelage.losses import weights
from tutelage.networks import checkpoint, ensemble, stages
from tutelage.networks.output import Outline, Output


def outline(**shapes: tuple[int, ...]) -> Outline:
    return Outline(classes=3, weights={name.replace("_", "."): shape for name, shape in shapes.items()})


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def soft_projector(matrix: torch.Tensor) -> torch.Tensor:
    gram = matrix.T @ matrix / matrix.square().sum()
    return gram @ torch.linalg.inv(gram + torch.eye(len(gram), dtype=gram.dtype) / min(matrix.shape))


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (1, 4)])
def test_the_subspace_distance_is_its_formula_and_invariant_to_rotation_and_scale(shape: tuple[int, int]) -> None:
    own, other = drawn(*shape), drawn(*shape, seed=1)
    p, q = soft_projector(own), soft_projector(other)
    expected = (p - q).square().sum() / (p.square().sum() + q.square().sum())
    torch.testing.assert_close(weights.subspace_distance(own, other), expected)
    turn, _ = torch.linalg.qr(drawn(shape[0], shape[0], seed=2))
    torch.testing.assert_close(weights.subspace_distance(3 * turn @ own, other), expected)
    assert weights.subspace_distance(turn @ own, own).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shape", [(400, 200), (200, 400)])
def test_the_subspace_distance_is_accurate_for_matrices_of_low_rank(shape: tuple[int, int]) -> None:
    """The Gram matrix is singular, but the solved system and the gradient must be well conditioned."""
    own, other = drawn(shape[0], 2) @ drawn(2, shape[1], seed=1), drawn(*shape, seed=2)
    p, q = soft_projector(own), soft_projector(other)
    expected = (p - q).square().sum() / (p.square().sum() + q.square().sum())
    gradients = []
    for precision in (torch.float32, torch.float64):
        given = own.to(precision).requires_grad_()
        found = weights.subspace_distance(given, other.to(precision))
        gradients.append(torch.autograd.grad(found, given)[0].double())
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * float(gradients[1].abs().max()))


def test_orthogonal_subspaces_have_distance_1_and_zero_matrices_a_gradient() -> None:
    left, right = torch.eye(8, dtype=torch.double)[:3], torch.eye(8, dtype=torch.double)[3:6]
    assert weights.subspace_distance(left, right).item() == pytest.approx(1.0)
    nothing = torch.zeros(3, 8, dtype=torch.double, requires_grad=True)
    weights.subspace_distance(nothing, left).backward()  # type: ignore[no-untyped-call]
    assert nothing.grad is not None and nothing.grad.isfinite().all()


def test_the_gradient_of_the_subspace_distance_is_its_slope() -> None:
    for shape in ((3, 7), (7, 3)):
        own = drawn(*shape).requires_grad_()
        assert torch.autograd.gradcheck(lambda w, shape=shape: weights.subspace_distance(w, drawn(*shape, seed=1)), own)


def test_by_depth_matrices_of_other_names_and_kinds_are_compared() -> None:
    own, other = outline(a_weight=(2, 3), b_weight=(4, 2)), outline(x_weight=(5, 4, 3, 3), x_bias=(5,), y_weight=(6, 5))
    config = weights.Config(match="depth")
    loss = weights.build(config, 1.0, own, other)
    teacher = Output(
        logits=torch.empty(0), weights={"x.weight": drawn(5, 4, 3, 3), "x.bias": drawn(5), "y.weight": drawn(6, 5, seed=1)}
    )
    student = Output(logits=torch.empty(0), weights={"a.weight": drawn(2, 3), "b.weight": drawn(4, 2, seed=3)})
    value = loss(student, teacher)
    at_rest = Output(logits=torch.empty(0), weights={k: v.clone() for k, v in loss._targets.items()})
    assert value > 0 and loss(at_rest, teacher).item() == 0
    assert {name: tuple(t.shape) for name, t in loss._targets.items()} == {"a.weight": (2, 3), "b.weight": (4, 2)}


@pytest.mark.parametrize("match", ["name", "depth"])
@pytest.mark.parametrize("model", [{"convnet": {"width": 4}}, {"vit": {"patch_px": 2, "width": 16, "heads": 2}}], ids=str)
def test_a_network_has_distance_0_from_its_own_file_in_any_order(model: Any, match: str, tmp_path: Path) -> None:
    about = architecture_of(model, names="abc")
    teacher = checkpoint.seeded(about, 0)
    checkpoint.write(tmp_path / "teacher", teacher, about)
    known = checkpoint.read_weights(tmp_path / "teacher")
    own = stages.outline_of(teacher, plain_signature(names="abc"))
    around = ensemble.Ensemble(
        [checkpoint.ChosenClasses(teacher, [2, 0]), checkpoint.seeded(architecture_of(model, names="ca"), 1)], [1, 1]
    )
    for other in (own, stages.outline_of(around, plain_signature(names="ca"))):
        loss = weights.build(weights.Config.model_validate({"match": match}), 1.0, own, other)
        student = Output(logits=torch.empty(0), weights=dict(teacher.named_parameters()))
        assert loss(student, Output(logits=torch.empty(0), weights=known)).item() == 0
        assert set(loss._targets) == {name for name, weight in teacher.named_parameters() if weight.ndim > 1}


@pytest.mark.parametrize("match", ["name", "depth"])
def test_a_student_without_a_matrix_to_compare_is_an_error(match: str) -> None:
    config = weights.Config.model_validate({"match": match})
    with pytest.raises(InputError, match=f"compares matrices of equal {match}"):
        weights.build(config, 1.0, outline(a_weight=(50, 30)), outline(a_weight=(4, 3)))
