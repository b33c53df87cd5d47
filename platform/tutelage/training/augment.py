"""Augmentation that depends only on (seed, view, index), so that every process computes the same view of an example.

A teacher's outputs for a view can therefore be cached, and the student gets exactly the inputs of its teacher. A batch is
augmented at once, on its device. Random numbers come from a counter-based hash, not from a generator with state.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional

from tutelage.data import Batch, Examples, Field
from tutelage.errors import InputError
from tutelage.signature import InputSpec
from tutelage.spec.sections import AugmentationConfig

_DRAWS = ("top", "left", "flip", "hole_y", "hole_x", "partner", "share")
_BETA_STEPS = 1024


def check(policy: AugmentationConfig, inputs: tuple[InputSpec, ...], *, has_boxes: bool = False) -> None:
    """Raise `InputError` for a policy that the inputs do not support: other kinds, or a hole larger than the image.

    Images whose objects have boxes cannot be mixed.
    """
    geometric = policy.pad_px or policy.flip or policy.cutout_px
    images = [one for one in inputs if one.kind == "image"]
    if geometric and not images:
        raise InputError(
            "augmentation: pad_px, flip and cutout_px need images [channels, height, width]; the data has "
            f"{', '.join(f'{one.kind} {one.shape}' for one in inputs)}."
        )
    for one in images:
        if policy.cutout_px and policy.cutout_px >= min(one.typical_shape[1:]):
            raise InputError(f"augmentation.cutout_px: a hole of {policy.cutout_px} px covers an image of {one.shape[1:]}.")
    if policy.mixup and any(one.dtype != "float32" or one.is_ragged for one in inputs):
        raise InputError("augmentation.mixup mixes numbers of one shape; the data has tokens or sequences. Set it to 0.")
    if policy.mixup and has_boxes:
        raise InputError("augmentation.mixup mixes images of one class each; the objects of these have boxes. Set it to 0.")


def batch(examples: Examples, rows: Tensor, view: int, policy: AugmentationConfig, seed: int) -> Batch:
    """Return view number `view` of the examples `rows`, an int64 tensor on the device of `examples`.

    Only images are shifted, flipped and cut out; the boxes of their objects (targets of kind `boxes`) move with them. Objects
    that are shifted out of the image are left out.
    """
    inputs, masks = _view(examples, rows, view, policy, seed)
    targets, target_masks = examples.take_targets(rows)
    masks |= target_masks
    if policy.pad_px or policy.flip:
        _move_boxes(examples, targets, masks, rows, view, policy, seed)
    if policy.mixup == 0.0:
        return Batch(
            inputs=inputs, targets=targets, masks=masks, names=examples.target_names, seen_with=examples.target_pairs
        )  # fmt: skip
    partners = uniform(seed, view, rows, "partner", len(examples))
    share = _beta_quantiles(policy.mixup).to(rows.device)[uniform(seed, view, rows, "share", _BETA_STEPS)]
    others, _ = _view(examples, partners, view, policy, seed)
    return Batch(
        inputs={name: _mixed(tensor, others[name], share) for name, tensor in inputs.items()}, targets=targets, masks=masks,
        partner_targets=examples.take_targets(partners)[0], share=share, names=examples.target_names,
        seen_with=examples.target_pairs,
    )  # fmt: skip


def _mixed(own: Tensor, other: Tensor, share: Tensor) -> Tensor:
    weight = share.view(-1, *[1] * (own.ndim - 1))
    return own.mul_(weight).add_(other.mul_(1 - weight))


def _view(
    examples: Examples, rows: Tensor, view: int, policy: AugmentationConfig, seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a view of the inputs and the masks of the ragged ones, by name."""
    inputs, masks = {}, {}
    for name, one in examples.inputs.items():
        stored, mask = one.take(rows)
        inputs[name] = _image(one, stored, rows, view, policy, seed) if one.kind == "image" else one.normalised(stored)
        if mask is not None:
            masks[name] = mask
    return inputs, masks


def _image(field: Field, stored: Tensor, rows: Tensor, view: int, policy: AugmentationConfig, seed: int) -> Tensor:
    if policy.pad_px:
        stored = _shifted(stored, rows, view, policy.pad_px, seed)
    if policy.flip:
        mirrored = uniform(seed, view, rows, "flip", 2).bool().view(-1, 1, 1, 1)
        stored = torch.where(mirrored, stored.flip(-1), stored)
    inputs = field.normalised(stored)
    return _with_hole(inputs, rows, view, policy.cutout_px, seed) if policy.cutout_px else inputs


def _move_boxes(
    examples: Examples, targets: dict[str, Tensor], masks: dict[str, Tensor], rows: Tensor, view: int,
    policy: AugmentationConfig, seed: int,
) -> None:  # fmt: skip
    """Move the boxes in `targets` as their images, cut them at the image, and mask the objects of which nothing is left."""
    image = next(one for one in examples.inputs.values() if one.kind == "image")
    for name in [name for name, one in examples.targets.items() if one.kind == "boxes"]:
        moved = _moved(targets[name], image.stored_shape[-2:], rows, view, policy, seed)
        is_gone = _has_area(targets[name]) & ~_has_area(moved)  # boxes of unlabelled images have no area before
        targets[name] = moved
        masks.update({one: masks[one] & ~is_gone for one in examples.targets if one in masks})


def _moved(
    boxes: Tensor, sides: tuple[int, ...], rows: Tensor, view: int, policy: AugmentationConfig, seed: int
) -> Tensor:  # fmt: skip
    """Return boxes `[batch, objects, 4]` (left, top, right, bottom) as in a view of their images."""
    height, width = sides
    if policy.pad_px:
        top, left = (uniform(seed, view, rows, draw, 2 * policy.pad_px + 1) - policy.pad_px for draw in ("top", "left"))
        boxes = boxes - torch.stack([left, top, left, top], dim=-1).unsqueeze(1)
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
    if policy.flip:
        mirrored = uniform(seed, view, rows, "flip", 2).bool().view(-1, 1, 1)
        left, top, right, bottom = boxes.unbind(dim=-1)
        boxes = torch.where(mirrored, torch.stack([width - right, top, width - left, bottom], dim=-1), boxes)
    return boxes


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def _shifted(stored: Tensor, rows: Tensor, view: int, pad_px: int, seed: int) -> Tensor:
    """Return random crops of the images padded with stored zeros, in their original size."""
    height, width = stored.shape[-2:]
    padded = functional.pad(stored, (pad_px,) * 4)
    top = uniform(seed, view, rows, "top", 2 * pad_px + 1)
    left = uniform(seed, view, rows, "left", 2 * pad_px + 1)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(rows), device=rows.device), :, top, left]


def _with_hole(inputs: Tensor, rows: Tensor, view: int, side_px: int, seed: int) -> Tensor:
    """Set a square with a random centre in the image to the mean (cutout; DeVries and Taylor, 2017)."""
    height, width = inputs.shape[-2:]
    in_rows = _covered(uniform(seed, view, rows, "hole_y", height), height, side_px)
    in_columns = _covered(uniform(seed, view, rows, "hole_x", width), width, side_px)
    return inputs.masked_fill_((in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).unsqueeze(1), 0.0)


def _covered(centre: Tensor, length: int, side_px: int) -> Tensor:
    positions = torch.arange(length, device=centre.device)
    first = (centre - side_px // 2).unsqueeze(1)
    return (positions >= first) & (positions < first + side_px)


@lru_cache(maxsize=8)
def _beta_quantiles(alpha: float) -> Tensor:
    """Return quantiles of Beta(alpha, alpha), from which mixup draws its shares (Zhang et al., 2018)."""
    middles = (torch.arange(_BETA_STEPS, dtype=torch.float64) + 0.5) / _BETA_STEPS
    return torch.from_numpy(betaincinv(alpha, alpha, middles.numpy())).float()


def uniform(seed: int, view: int, rows: Tensor, draw: str, count: int) -> Tensor:
    """Return for each of `rows` an integer in [0, count), uniformly distributed, determined by (seed, view, row, draw)."""
    key = _scrambled(torch.tensor(seed * len(_DRAWS) + _DRAWS.index(draw), device=rows.device) + 1)
    key = _scrambled(key ^ (view + 1))
    return ((_scrambled(key ^ rows) >> 16) & 0xFFFF_FFFF) * count >> 32


def _scrambled(bits: Tensor) -> Tensor:
    """Return 64-bit hashes: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    bits = bits + -0x61C8864680B583EB
    bits = (bits ^ (bits >> 30 & 0x3_FFFF_FFFF)) * -0x40A7B892E31B1A47
    bits = (bits ^ (bits >> 27 & 0x1F_FFFF_FFFF)) * -0x6B2FB644ECCEEE15
    return bits ^ (bits >> 31 & 0x1_FFFF_FFFF)
