"""Widths in multiples: what each layer keeps, and what is said where rounding leaves nothing to remove."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tutelage.errors import InputError
from tutelage.sparsity import Calibration, channels, spr

ARGUMENTS = (torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


def network(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in zip((1, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def kept(amount: float, *widths: int, **options: Any) -> list[int]:
    method = channels.build(channels.Config(round_to=8, **options), amount)
    smaller = method.remove(network(*widths), Calibration(arguments=ARGUMENTS))
    assert smaller(*ARGUMENTS).shape == (2, 10)
    return [layer.out_channels for layer in smaller.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize(
    ("amount", "widths", "expected"),
    [
        (0.25, (32, 64), [24, 48]),
        (0.2, (32, 64), [24, 56]),  # of 26 and 52 channels: 52 is as far from 48 as from 56
        (0.7, (16, 32), [8, 8]),
        (0.95, (16, 32), [8, 8]),  # one multiple at least
        (0.5, (4, 32), [4, 16]),  # a layer narrower than a multiple stays whole
        (0.5, (20, 32), [8, 16]),
    ],
)
def test_every_layer_keeps_the_multiple_nearest_to_its_share(
    amount: float, widths: tuple[int, ...], expected: list[int]
) -> None:
    assert kept(amount, *widths) == expected


def test_the_weakest_of_a_network_go_and_widths_are_multiples() -> None:
    found = kept(0.5, 32, 64, 32, allocation="network")
    assert all(width % 8 == 0 and width >= 8 for width in found) and sum(found) <= 80


def test_a_threshold_rounds_up_so_that_no_stronger_channel_goes() -> None:
    assert all(width % 8 == 0 for width in kept(0.9, 32, 64, threshold=0.9))
    assert kept(0.9, 32, 64, threshold=1e-6) == [32, 64]


def test_an_amount_that_rounds_to_nothing_is_an_error_before_training_and_noted_after_it() -> None:
    method = channels.build(channels.Config(round_to=8), 0.2)
    with pytest.raises(InputError, match=r"sparsity\.amount 0\.2 removes no channel .* round_to \(8\)"):
        method.presized(network(8, 16), ARGUMENTS)
    method = channels.build(channels.Config(round_to=8, allocation="network"), 0.1)
    (point,) = method.finish(network(8, 8), Calibration(arguments=ARGUMENTS))
    assert point.made == "channels by l2, multiples of 8: nothing was removed"
    again = channels.build(channels.Config(round_to=8, allocation="network"), 0.1)
    again.restore(network(8, 8), method.state())
    assert again.made == point.made


def test_what_is_sized_is_what_is_removed() -> None:
    method = channels.build(channels.Config(round_to=8), 0.6)
    sized = method.presized(network(32, 64), ARGUMENTS)
    removed = method.remove(network(32, 64), Calibration(arguments=ARGUMENTS))
    assert sized is not None
    shapes = ({name: one.shape for name, one in model.state_dict().items()} for model in (sized, removed))
    assert next(shapes) == next(shapes)
    assert method.made == "channels by l2, multiples of 8"


def test_regularised_students_are_rounded_too() -> None:
    method = spr.build(spr.Config(round_to=8), 0.5)
    smaller = method.remove(network(32, 64), Calibration(arguments=ARGUMENTS))
    assert all(layer.out_channels % 8 == 0 for layer in smaller.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize("amount", [0.05, 0.25, 0.3, 0.6, 0.7, 0.9, 0.95])
def test_a_share_of_every_layer_is_the_amount(amount: float, round_to: int) -> None:
    """Of 10 channels without a quarter, `amounts` kept 8 and `amount` 7."""

    def widths(config: channels.Config, share: float) -> list[int]:
        found = channels.build(config, share).remove(grouped(), Calibration(arguments=ARGUMENTS))
        return [layer.out_channels for layer in found.modules() if isinstance(layer, nn.Conv2d)]

    own = channels.Config(amounts={"*": amount}, round_to=round_to)
    assert widths(own, 0.5) == widths(channels.Config(round_to=round_to), amount)


def grouped() -> nn.Sequential:
    """A network of odd widths, with a convolution in groups, which lose equally many."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 37, 3, padding=1), nn.ReLU(),
        nn.Conv2d(37, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 48, 3, padding=1, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip
