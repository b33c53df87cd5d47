"""PKD is one less the mean of the channels' Pearson correlations, on real positions, at any scale and resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage import plugins
from tutelage.networks.output import Outline, Output, Stage

NO_LOGITS = torch.zeros(3, 1, 2)


def stages_of(channels: int, side: int = 4) -> Outline:
    stages = tuple(Stage(name=f"stage{one}", grid=(side // one, side // one), channels=channels) for one in (1, 2))
    return Outline(classes=2, stages=stages)


def built(student: Outline, teacher: Outline, **options: Any) -> torch.nn.Module:
    _, plugin, config = plugins.configure("losses", {"pkd": options})
    torch.manual_seed(0)
    loss: torch.nn.Module = plugin.build(config, 1.0, student, teacher)
    return loss.double()


def output(outline: Outline, seed: int) -> Output:
    generator = torch.Generator().manual_seed(seed)
    features: dict[str, Tensor] = {
        one.name: torch.randn(3, one.positions, one.channels, generator=generator, dtype=torch.double) for one in outline.stages
    }
    return Output(logits=NO_LOGITS, features=features)


def test_it_is_one_less_the_mean_correlation_of_the_channels() -> None:
    outline = stages_of(5)
    student, teacher = output(outline, 0), output(outline, 1)
    correlations = [
        np.corrcoef(*(one.features["stage2"].flatten(0, 1)[:, channel].numpy() for one in (student, teacher)))[0, 1]
        for channel in range(5)
    ]
    assert float(built(outline, outline)(student, teacher)) == pytest.approx(1 - np.mean(correlations))
    both = float(built(outline, outline, stages=2)(student, teacher))
    assert both != pytest.approx(1 - np.mean(correlations)) and 0 < both < 2


def test_neither_the_scale_of_a_channel_nor_the_resolution_changes_it() -> None:
    outline = stages_of(5)
    student, teacher = output(outline, 0), output(outline, 1)
    loss = built(outline, outline)(student, teacher)
    scales = torch.rand(5, dtype=torch.double) + 0.1
    scaled = Output(logits=NO_LOGITS, features={"stage2": 7 + scales * student.features["stage2"]})
    torch.testing.assert_close(built(outline, outline)(scaled, teacher), loss)
    finer = stages_of(5, side=8)
    repeated = [
        {"stage2": one.features["stage2"].unflatten(1, (2, 2)).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)}
        for one in (student, teacher)
    ]
    torch.testing.assert_close(built(finer, finer)(*(Output(logits=NO_LOGITS, features=one) for one in repeated)), loss)


def test_networks_of_other_widths_and_grids_are_compared_through_an_adapter() -> None:
    loss = built(stages_of(3), stages_of(5, side=8))
    assert sum(one.numel() for one in loss.parameters()) == 3 * 5 + 5
    assert 0 < loss(output(stages_of(3), 0), output(stages_of(5, side=8), 1)).item() < 2
    assert not list(built(stages_of(5), stages_of(5)).parameters())
