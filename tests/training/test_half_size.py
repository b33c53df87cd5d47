"""First epochs on images of half the size, of any sides and any strides: the losses and boxes are those of the images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Examples
from tutelage.data._objects import Objects, object_examples
from tutelage.models import detector
from tutelage.networks import stages
from tutelage.signature import Signature
from tutelage.spec.sections import RecipeConfig
from tutelage.tasks import detection
from tutelage.tasks._cells import strides_of
from tutelage.training import half_size, loop
from tutelage.training.plan import TrainingPlan

TASK = detection.Detection(detection.Config(bins=4))


def scenes(height: int, width: int) -> Examples:
    """Two images, with an object in the middle of the first and none in the second."""
    images = np.random.default_rng(0).integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    box = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]])
    return object_examples(images, [Objects(box, np.array([0])), Objects(np.zeros((0, 4)), np.array([]))], ("cup",), notes=())


def signature_of(examples: Examples) -> Signature:
    return Signature(inputs=examples.input_specs, outputs=TASK.outputs(examples))


def test_an_odd_side_is_rounded_up_and_its_last_pixels_are_means_of_those_there_are() -> None:
    images = torch.arange(15.0).view(1, 1, 3, 5)
    assert half_size.smaller(images).flatten().tolist() == [3.0, 5.0, 6.5, 10.5, 12.5, 14.0]


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(st.integers(16, 70), st.integers(16, 70), st.integers(1, 4), st.data())
def test_cells_of_half_the_size_are_those_of_the_networks_strides(height: int, width: int, depth: int, data: Any) -> None:
    """Boxes and cells are those of the smaller image, and the signature has its sides."""
    levels = data.draw(st.integers(1, depth))
    examples = scenes(height, width)
    half = half_size.halved(examples.take(slice(None)), examples)
    sides = half.inputs["image"].shape[-2:]
    assert sides == (-(-height // 2), -(-width // 2))
    assert half.targets["boxes"][0, 0].tolist() == [width / 8, height / 8, width * 3 / 8, height * 3 / 8]
    network = detector.build(detector.Config(width=1, stages=depth, levels=levels, neck=1), signature_of(examples))
    sequences = TASK.forward(network, half)
    if max(height, width) > 2**depth:
        strides = tuple(2**number for number in range(1 + depth - levels, 1 + depth))
        assert strides_of(sequences["class"].logits.shape[1], *sides) == strides
    outline = stages.outline_of(network.to("meta"), half_size.halved_signature(signature_of(examples)))
    assert outline.steps == {name: one.logits.shape[1] for name, one in sequences.items()}
    first = half_size.halved_example(examples)
    assert first.input_specs[0].shape[-2:] == sides
    assert torch.equal(first.take(slice(0, 1)).targets["boxes"], half.targets["boxes"][:1])


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(st.integers(17, 70), st.integers(17, 70), st.integers(1, 4))
def test_a_detector_of_images_of_any_sides_trains_on_half_the_size(height: int, width: int, levels: int) -> None:
    examples = scenes(height, width)
    plan = TrainingPlan(
        task=TASK, train=examples, validation=examples, signature=signature_of(examples),
        recipe=RecipeConfig(epochs=2, batch_size=2, half_size_share=0.5), seed=0,
    )  # fmt: skip
    torch.manual_seed(0)
    under_way = loop.Training(detector.build(detector.Config(width=2, stages=4, levels=levels, neck=2), plan.signature), plan)
    assert [0 < under_way.epoch()["train_loss"] < 30 for _ in range(2)] == [True, True]
