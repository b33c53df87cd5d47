"""Views are functions of (seed, view, index) alone, and are augmented as their policy says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plain import Plain, plain_signature
from tutelage.data import Examples, classified, has_label
from tutelage.data._objects import Objects, object_examples
from tutelage.errors import InputError
from tutelage.spec.sections import AS_IT_IS, AugmentationConfig
from tutelage.training import augment

EVERYTHING = AugmentationConfig(pad_px=2, flip=True, cutout_px=3, mixup=0.4)


def images(n: int = 64, side_px: int = 8, dtype: torch.dtype = torch.uint8) -> Plain:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(1, 256, (n, 3, side_px, side_px), generator=generator, dtype=torch.uint8).to(dtype)
    labels = torch.arange(n).remainder(4)
    return Plain(classified(inputs, labels, tuple("abcd"), mean=(127.0, 120.0, 90.0), std=(60.0, 50.0, 40.0)))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.permutations(range(12)))
def test_a_view_depends_on_seed_view_and_index_and_on_nothing_else(seed: int, view: int, order: list[int]) -> None:
    split, rows = images(), torch.tensor(order)
    together = augment.batch(split.examples, rows, view, EVERYTHING, seed)
    for position, row in enumerate(order):
        alone = augment.batch(split.examples, torch.tensor([row]), view, EVERYTHING, seed)
        assert torch.equal(together.inputs["inputs"][position], alone.inputs["inputs"][0])
        assert together.partner_targets is not None and alone.partner_targets is not None
        assert torch.equal(together.partner_targets["class"][position], alone.partner_targets["class"][0])


def test_another_view_or_seed_gives_other_images() -> None:
    split, rows = images(), torch.arange(64)
    first = augment.batch(split.examples, rows, 0, EVERYTHING, 0).inputs["inputs"]
    for view, seed in ((1, 0), (0, 1)):
        other = augment.batch(split.examples, rows, view, EVERYTHING, seed).inputs["inputs"]
        assert (first != other).flatten(1).any(1).float().mean() > 0.95


def test_without_a_policy_a_view_is_the_example_itself() -> None:
    split, rows = images(), torch.tensor([5, 3])
    seen = augment.batch(split.examples, rows, 7, AS_IT_IS, 1)
    assert torch.equal(seen.inputs["inputs"], split.seen(rows))
    assert torch.equal(seen.targets["class"], split.labels[rows]) and seen.share is None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_padding_and_mirroring_give_each_of_their_views_about_equally_often(dtype: torch.dtype) -> None:
    """Pad 1 and flip have 3 · 3 · 2 views; each is one of those, cut out by hand, and none is rare."""
    split, policy = images(n=1, dtype=dtype), AugmentationConfig(pad_px=1, flip=True)
    padded = torch.nn.functional.pad(split.inputs, (1, 1, 1, 1))
    windows = [padded[0, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    possible = torch.stack([split.field.normalised(w.unsqueeze(0))[0] for w in [*windows, *(w.flip(-1) for w in windows)]])
    counts = torch.zeros(18)
    for view in range(1800):
        seen = augment.batch(split.examples, torch.tensor([0]), view, policy, 0).inputs["inputs"]
        matches = (possible == seen).flatten(1).all(1)
        assert matches.sum() == 1
        counts += matches
    assert counts.min() > 60 and counts.max() < 140


def test_a_hole_is_square_and_of_the_mean() -> None:
    split, policy = images(n=200, side_px=12), AugmentationConfig(cutout_px=4)
    seen = augment.batch(split.examples, torch.arange(200), 0, policy, 0).inputs["inputs"]
    blank = (seen == 0).all(1)
    areas = blank.flatten(1).sum(1)
    assert areas.max() == 16 and areas.min() >= 4, "whole inside, at least a quarter at a corner"
    assert torch.equal(seen[~blank.unsqueeze(1).expand_as(seen)], split.seen(slice(None))[~blank.unsqueeze(1).expand_as(seen)])


def test_a_mixed_example_is_the_stated_shares_of_itself_and_its_partner() -> None:
    split, policy = images(), AugmentationConfig(mixup=1.0)
    rows = torch.arange(64)
    seen = augment.batch(split.examples, rows, 3, policy, 0)
    partners = augment.uniform(0, 3, rows, "partner", 64)
    assert seen.share is not None and seen.partner_targets["class"] is not None
    share = seen.share.view(-1, 1, 1, 1)
    torch.testing.assert_close(seen.inputs["inputs"], share * split.seen(rows) + (1 - share) * split.seen(partners))
    assert torch.equal(seen.partner_targets["class"], split.labels[partners])
    assert 0.35 < float(seen.share.mean()) < 0.65 and seen.share.std() > 0.2, "Beta(1, 1) is uniform"


@given(st.integers(1, 1000), st.sampled_from(augment._DRAWS))
@settings(deadline=None)
def test_random_numbers_are_uniform(count: int, draw: str) -> None:
    drawn = augment.uniform(3, 5, torch.arange(20_000), draw, count)
    assert drawn.min() >= 0 and drawn.max() < count
    assert float(drawn.float().mean()) == pytest.approx((count - 1) / 2, abs=0.03 * count)


def squares(boxes: list[list[int]]) -> Examples:
    """Return an image of 12 px for each box, bright in the box and dark elsewhere."""
    pixels = np.zeros((len(boxes), 1, 12, 12), dtype=np.uint8)
    for image, (left, top, right, bottom) in zip(pixels, boxes, strict=True):
        image[0, top:bottom, left:right] = 255
    objects = [Objects(np.array([box]), np.array([0])) for box in boxes]
    return object_examples(pixels, objects, ("square",), notes=(), mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize("policy", [{"flip": True}, {"pad_px": 3}, {"flip": True, "pad_px": 3}])
def test_boxes_move_with_their_images(policy: dict[str, Any]) -> None:
    examples = squares([[1, 2, 5, 9], [6, 0, 12, 4]] * 20)
    for view in range(3):
        batch = augment.batch(examples, torch.arange(40), view, AugmentationConfig(**policy), 0)
        for image, (box,) in zip(batch.inputs["image"], batch.targets["boxes"].int(), strict=True):
            left, top, right, bottom = box.tolist()
            bright = torch.zeros(12, 12, dtype=torch.bool)
            bright[top:bottom, left:right] = True
            assert torch.equal(image[0] > 0, bright)


def test_an_object_that_is_shifted_out_of_its_image_is_left_out_and_an_unknown_one_is_not() -> None:
    examples = squares([[0, 0, 2, 2]] * 200)
    batch = augment.batch(examples, torch.arange(200), 0, AugmentationConfig(pad_px=4), 0)
    is_seen = (batch.inputs["image"] > 0).flatten(1).any(dim=1)
    assert 0 < is_seen.sum() < 200
    for name in ("objects", "boxes"):
        assert torch.equal(batch.masks[name][:, 0], is_seen)
    unknown = object_examples(np.zeros((200, 1, 12, 12), np.uint8), [None] * 200, ("square",), notes=())
    batch = augment.batch(unknown, torch.arange(200), 0, AugmentationConfig(pad_px=4), 0)
    assert batch.masks["objects"].all() and not has_label(batch.targets["objects"], batch.masks["objects"]).any()


def test_images_with_boxes_are_not_mixed() -> None:
    with pytest.raises(InputError, match="the objects of these have boxes"):
        augment.check(AugmentationConfig(mixup=0.2), plain_signature().inputs, has_boxes=True)
    augment.check(AugmentationConfig(flip=True), plain_signature().inputs, has_boxes=True)


def test_a_policy_that_the_inputs_do_not_support_is_an_error() -> None:
    with pytest.raises(InputError, match="need images"):
        augment.check(AugmentationConfig(flip=True), plain_signature((64,)).inputs)
    with pytest.raises(InputError, match="covers an image"):
        augment.check(AugmentationConfig(cutout_px=8), plain_signature().inputs)
    augment.check(AugmentationConfig(mixup=0.2), plain_signature((64,)).inputs)
    for odd in (
        replace(plain_signature((64,)).inputs[0], dtype="int64"),
        replace(plain_signature((64,)).inputs[0], shape=("n",)),
    ):
        with pytest.raises(InputError, match="mixes numbers of one shape"):
            augment.check(AugmentationConfig(mixup=0.2), (odd,))
