"""Localisation distillation is the mean divergence of the steps by their focus, whatever their number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tutelage import plugins
from tutelage.networks.output import Outline, Output


def value(student: Output, teacher: Output, temperature: float = 10.0) -> torch.Tensor:
    _, plugin, config = plugins.configure("losses", "ld")
    outline = Outline(classes=6)
    found: torch.Tensor = plugin.build(config, temperature, outline, outline)(student, teacher)
    return found


def outputs() -> tuple[Output, Output]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, 8, 6, generator=generator, dtype=torch.double)
    focus = torch.rand(4, 8, generator=generator, dtype=torch.double)
    return Output(logits=logits[0]), Output(logits=logits[1], focus=focus)


def test_it_is_the_weighted_mean_of_the_steps_divergences() -> None:
    student, teacher = outputs()
    assert teacher.focus is not None
    total, weight = 0.0, 0.0
    for row in range(4):
        for step in range(8):
            p, q = ((one.logits[row, step] / 10).softmax(-1) for one in (teacher, student))
            total += float(teacher.focus[row, step]) * float((p * (p / q).log()).sum())
            weight += float(teacher.focus[row, step])
    assert float(value(student, teacher)) == pytest.approx(100 * total / weight)


def test_more_steps_that_do_not_matter_change_nothing_and_none_that_matters_is_0() -> None:
    student, teacher = outputs()
    assert teacher.focus is not None
    zeros = torch.zeros_like(teacher.focus)
    wide = replace(teacher, logits=torch.cat([teacher.logits] * 2, dim=1), focus=torch.cat([teacher.focus, zeros], dim=1))
    twice = Output(logits=torch.cat([student.logits, student.logits.flip(1)], dim=1))
    torch.testing.assert_close(value(twice, wide), value(student, teacher))
    assert value(student, replace(teacher, focus=zeros)) == 0


def test_without_a_focus_it_is_distillation_by_soft_targets() -> None:
    student, teacher = outputs()
    _, plugin, config = plugins.configure("losses", "kd")
    kd = plugin.build(config, 4.0, Outline(classes=6), Outline(classes=6))
    unfocused = replace(teacher, focus=None)
    torch.testing.assert_close(value(student, unfocused, 4.0), kd(student, unfocused))
