"""Published architectures have the published number of parameters, MACs and stages."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.plain import architecture_of, models_for, plain_signature
from tutelage.errors import InputError
from tutelage.networks import checkpoint, cost
from tutelage.sparsity import Calibration, channels

IMAGES = (3, 32, 32)
PUBLISHED = [  # with 100 classes, as listed by Tian et al. (2020) for the CIFAR-100 distillation tables
    ({"resnet": {"blocks": 3, "width": 16}}, 278_324),
    ({"resnet": {"blocks": 9, "width": 16}}, 861_620),
    ({"resnet": {"blocks": 1, "width": 64, "stem": 32}}, 1_233_540),
    ({"resnet": {"blocks": 5, "width": 64, "stem": 32}}, 7_433_860),
    ({"wide_resnet": {"blocks": 6, "widen": 2}}, 2_255_156),
    ({"wide_resnet": {"blocks": 2, "widen": 2}}, 703_284),
    ({"wide_resnet": {"blocks": 6, "widen": 1}}, 569_780),
    ({"vgg": {"convs": 2, "width": 64}}, 9_462_180),
    ({"vgg": {"convs": 1, "width": 64}}, 3_965_028),
    ({"mobilenet": {"width": 0.5, "expansion": 6}}, 812_836),
    ({"shufflenet": {"width": 1.0}}, 1_355_528),
]
MACS = [  # of the same tables, by torch-pruning's counter
    ({"resnet": {"blocks": 9, "width": 16}}, 125.8e6),
    ({"resnet": {"blocks": 3, "width": 16}}, 40.8e6),
    ({"resnet": {"blocks": 5, "width": 64, "stem": 32}}, 1083.0e6),
    ({"wide_resnet": {"blocks": 6, "widen": 2}}, 327.6e6),
    ({"vgg": {"convs": 2, "width": 64}}, 284.9e6),
]
FAMILIES = models_for(plain_signature(IMAGES))


def build(reference: Any, shape: tuple[int, ...] = IMAGES, num_classes: int = 100) -> nn.Module:
    return checkpoint.build(architecture_of(reference, shape, list(map(str, range(num_classes)))))


@pytest.mark.parametrize(("reference", "params"), PUBLISHED, ids=str)
def test_published_networks_have_the_published_size(reference: Any, params: int) -> None:
    with torch.device("meta"):
        assert cost.size(build(reference))["params"] == params


@pytest.mark.parametrize(("reference", "macs"), MACS, ids=str)
def test_published_networks_have_the_published_macs(reference: Any, macs: float) -> None:
    with torch.device("meta"):
        assert cost.macs(build(reference), plain_signature(IMAGES))["macs"] == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_are_named_in_order_and_output_maps_tokens_or_vectors(name: str) -> None:
    model = build(name).eval()
    shapes: dict[str, torch.Size] = {}

    def keep(stage: str, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        shapes[stage] = output.shape

    for stage, module in model.named_children():
        if stage.startswith("stage"):
            module.register_forward_hook(partial(keep, stage))
    model(torch.randn(2, *IMAGES))
    assert list(shapes) == [f"stage{i}" for i in range(1, len(shapes) + 1)] != []
    assert all(shape[0] == 2 and len(shape) in (2, 3, 4) for shape in shapes.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pruned_network_round_trips_through_its_files(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = architecture_of(name, IMAGES, "abc")
    traced = Calibration(arguments=(torch.randn(2, *IMAGES),))
    model = channels.remove_channels(channels.Config(), checkpoint.build(architecture), traced, 0.5).eval()
    checkpoint.write(tmp_path, model, architecture)
    again, _ = checkpoint.read(tmp_path)
    batch = torch.randn(3, *IMAGES)
    torch.testing.assert_close(again(batch), model(batch))
    assert cost.size(again) == cost.size(model)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "mlp"])
def test_examples_that_are_not_images_are_an_error(name: str) -> None:
    with pytest.raises(InputError, match=f"model '{name}' takes images"):
        build(name, (64,))


def test_a_transformer_that_does_not_divide_is_an_error() -> None:
    with pytest.raises(InputError, match="patches of 5 px do not divide an image of 32×32"):
        build({"vit": {"patch_px": 5}})
    with pytest.raises(InputError, match="3 heads do not divide a width of 64"):
        build({"vit": {"heads": 3}})
