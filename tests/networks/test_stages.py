"""Which layers of a network are compared, and in which order."""

from __future__ import annotations

import torch
from torch import nn

from tutelage.networks import stages


class Many(nn.Module):
    """A network whose stages are registered in another order than that of their numbers."""

    def __init__(self) -> None:
        super().__init__()
        for number in (10, 2, 1):
            self.add_module(f"stage{number}", nn.Linear(3, 3))
        self.head = nn.Linear(3, 2)


def test_stages_are_in_the_order_of_their_numbers() -> None:
    assert list(stages.stages(Many())) == ["stage1", "stage2", "stage10"]


def test_a_pooled_stage_leaves_padding_out_and_a_map_is_the_mean_square() -> None:
    steps = torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])
    assert stages.pooled_of(steps, torch.tensor([[True, False]])).tolist() == [[1.0, 3.0]]
    assert stages.pooled_of(steps).tolist() == [[3.0, 4.0]]
    assert stages.map_of(steps).tolist() == [[5.0, 25.0]]
    image = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 2, 1, 2)
    assert stages.features_of(image).tolist() == [[[1.0, 3.0], [2.0, 4.0]]]
    assert stages.map_of(image).tolist() == [[5.0, 10.0]]
