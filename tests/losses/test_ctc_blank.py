"""The compared steps are those of the teacher's characters and as many on either side; of them the loss is kd's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.losses import for_sequences
from tutelage.losses.ctc_blank import AroundCharacters, selected
from tutelage.losses.kd import SoftTargets
from tutelage.networks.output import Outline, Output


def spikes(*paths: list[int]) -> torch.Tensor:
    return 9.0 * torch.eye(3)[torch.tensor(paths)]


@given(path=st.lists(st.integers(0, 2), min_size=1, max_size=9), around=st.integers(0, 3), real=st.integers(0, 9))
def test_steps_within_reach_of_a_character_are_selected(path: list[int], around: int, real: int) -> None:
    mask = torch.arange(len(path)) < real
    found = selected(spikes(path), mask.unsqueeze(0), around, blank=0)[0].tolist()
    characters = [step for step, one in enumerate(path) if one and step < real]
    assert found == [step < real and any(abs(step - one) <= around for one in characters) for step in range(len(path))]


def test_the_loss_is_the_divergence_at_the_selected_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(1, 6, 3, generator=generator), spikes([0, 0, 0, 2, 0, 0])
    found = AroundCharacters(2.0, around=1, blank=0)(Output(logits=student), Output(logits=teacher))
    expected = SoftTargets(2.0)(Output(logits=student[:, 2:5]), Output(logits=teacher[:, 2:5]))
    torch.testing.assert_close(found, expected)


def test_with_every_step_in_reach_it_is_kd_and_without_a_character_0() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (Output(logits=torch.randn(2, 4, 3, generator=generator)) for _ in range(2))
    teacher.logits[:, 0, 1] = 9.0
    torch.testing.assert_close(AroundCharacters(3.0, 4, 0)(student, teacher), SoftTargets(3.0)(student, teacher))
    assert AroundCharacters(3.0, 4, 0)(student, Output(logits=spikes([0] * 4, [0] * 4))) == 0


def test_networks_of_other_strides_are_an_error_where_label_sequences_are_compared() -> None:
    own, other = (Outline(classes=3, sequences={"characters": 3}, steps={"characters": steps}) for steps in (6, 12))
    for name in ("ctc_blank", "kd"):
        _, plugin, config = plugins.configure("losses", name)
        build = partial(plugin.build, config, 4.0)
        with pytest.raises(InputError, match=r"gives 6 steps of 'characters' .* its teacher 12"):
            for_sequences(plugin, config, own, other, build)
        for_sequences(plugin, config, own, own, build)
