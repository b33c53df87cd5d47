from __future__ import annotations

import torch

from tests.plain import architecture_of
from tutelage.networks import checkpoint, inherit


def test_cut_selects_the_first_channels_of_every_layer() -> None:
    weights = {"a.weight": torch.arange(24.0).view(4, 6), "b.weight": torch.ones(2, 2), "c.bias": torch.arange(3.0)}
    found = inherit.cut(weights, {"a.weight": (2, 3), "b.weight": (3, 2), "c.bias": (2,), "d.bias": (1,)})
    assert set(found) == {"a.weight", "c.bias"}, "what would have to grow, or is not there, is left out"
    assert found["a.weight"].tolist() == [[0.0, 1.0, 2.0], [6.0, 7.0, 8.0]]
    found["c.bias"].zero_()
    assert weights["c.bias"].tolist() == [0.0, 1.0, 2.0], "a copy"


def test_a_network_of_the_same_shape_inherits_all_weights_and_outputs() -> None:
    about = architecture_of({"resnet": {"width": 4}}, names="abc")
    torch.manual_seed(0)
    teacher = checkpoint.build(about).eval()
    student = checkpoint.build(about).eval()
    student.load_state_dict(inherit.cut(teacher.state_dict(), {k: t.shape for k, t in student.state_dict().items()}))
    batch = torch.randn(4, 1, 8, 8)
    assert torch.equal(student(batch), teacher(batch))


def test_a_projection_retains_the_most_variance_and_leaves_equal_shapes_unchanged() -> None:
    matrix = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    assert torch.equal(inherit.project(matrix, (6, 9)), matrix)
    values = torch.linalg.svdvals(matrix)
    for shape in ((4, 9), (6, 4)):
        small = inherit.project(matrix, shape)
        assert small.shape == shape
        torch.testing.assert_close(small.square().sum(), values[:4].square().sum())
    flipped = inherit.project(matrix * torch.tensor([1.0, -1.0] * 3).double().unsqueeze(1), (6, 4))
    torch.testing.assert_close(flipped.abs(), inherit.project(matrix, (6, 4)).abs())
    assert torch.equal(inherit.project(matrix, (3, 3)), inherit.project(matrix.clone(), (3, 3)))


def test_kernels_are_projected_and_norms_and_biases_are_omitted() -> None:
    weights = {"a.weight": torch.randn(8, 6, 3, 3), "a.bias": torch.randn(8), "other.weight": torch.randn(2, 2)}
    found = inherit.projected(weights, {"a.weight": (4, 3, 3, 3), "a.bias": (4,), "other.weight": (3, 2)})
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {"a.weight": (4, 3, 3, 3)}
