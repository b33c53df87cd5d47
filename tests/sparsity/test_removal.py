"""What every method has that removes something once, for a method that has nothing but its cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tutelage.sparsity import Calibration
from tutelage.sparsity._masks import Masked, matrices, smallest_removed
from tutelage.sparsity._removal import Removal, RemovalConfig

CALIBRATION = Calibration(arguments=(torch.zeros(2, 4),))


class Smallest(Removal, Masked):
    made = "the smallest"

    def cut(self, model: nn.Module, calibration: Calibration) -> nn.Module:
        self.masks = smallest_removed({name: weight.abs() for name, weight in matrices(model).items()}, self.amount)
        return model

    def surgery(self) -> dict[str, Any]:
        return {"masks": len(self.masks)}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize(("epochs", "after"), [(1, ()), (2, (1,)), (3, (1,)), (10, (4,)), (20, (8,))])
def test_the_epochs_after_the_removal_are_the_share_with_one_before_and_one_after(epochs: int, after: tuple[int, ...]) -> None:
    assert Smallest(RemovalConfig(fine_tune_share=0.4), 0.5).recoveries(epochs) == after
    assert Smallest(RemovalConfig(fine_tune_share=0.0), 0.5).recoveries(10) == (1,)


def test_a_training_that_was_never_cut_is_cut_at_its_end_and_no_other_a_second_time() -> None:
    late, early = Smallest(RemovalConfig(), 0.5), Smallest(RemovalConfig(), 0.5)
    cut = early.remove(network(), CALIBRATION)
    for method, model in ((late, network()), (early, cut)):
        masks = dict(method.masks)
        (point,) = method.finish(model, CALIBRATION)
        assert (point.amount, point.made, point.surgery) == (0.5, "the smallest", {"masks": 2})
        assert sum(int((weight == 0).sum()) for weight in matrices(point.model).values()) == 24
        assert not masks or all(method.masks[name] is mask for name, mask in masks.items())


def test_a_resumed_method_has_the_masks_and_the_shapes_of_the_whole_network() -> None:
    before, after = Smallest(RemovalConfig(), 0.5), Smallest(RemovalConfig(), 0.5)
    assert before.whole_shapes == {}
    model = before.remove(network(), CALIBRATION)
    assert after.restore(model, before.state()) is model
    assert after.is_cut and after.masks == before.masks
    assert after.whole_shapes == {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (2, 8), "2.bias": (2,)}
    after.amount = 0.75
    after.remove(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), CALIBRATION)
    assert after.whole_shapes["0.weight"] == (8, 4), "a second cut is of the same whole network"
