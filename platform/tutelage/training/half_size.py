"""Images of half the height and width, on which a recipe's first epochs may train: as batches, examples and signatures.

An odd side is rounded up, so that a network of stride s gives an image of half the size as many cells as one of stride 2·s
gives the whole image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor
from torch.nn import functional

from tutelage.data import Batch, Examples, Field, Ragged
from tutelage.signature import InputSpec, Signature


def halved(batch: Batch, examples: Examples) -> Batch:
    """Return a batch of `examples` with images of half the height and width, and the boxes of their objects in them."""
    inputs = {name: smaller(one) if examples.inputs[name].kind == "image" else one for name, one in batch.inputs.items()}
    partners = batch.partner_targets
    return replace(
        batch, inputs=inputs, targets=_boxes_halved(batch.targets, examples),
        partner_targets=None if partners is None else _boxes_halved(partners, examples),
    )  # fmt: skip


def smaller(images: Tensor) -> Tensor:
    """Return images `[…, channels, height, width]` of half the sides: means of 2 × 2 pixels, at an odd edge of two."""
    return functional.avg_pool2d(images, 2, ceil_mode=True)


def _boxes_halved(targets: Mapping[str, Tensor], examples: Examples) -> dict[str, Tensor]:
    return {name: one / 2 if examples.targets[name].kind == "boxes" else one for name, one in targets.items()}


def halved_example(examples: Examples) -> Examples:
    """Return the first example with images and boxes of half the height and width; for its shapes, not for its pixels."""
    first = examples.head(1)
    return replace(
        first, inputs={name: _every_second(one) for name, one in first.inputs.items()},
        targets={name: _boxes_half_as_large(one) for name, one in first.targets.items()},
    )  # fmt: skip


def _every_second(field: Field) -> Field:
    if field.kind != "image":
        return field
    assert isinstance(field.values, Tensor)
    return replace(field, values=field.values[..., ::2, ::2])


def _boxes_half_as_large(field: Field) -> Field:
    if field.kind != "boxes":
        return field
    return field.mapped(lambda held: replace(held, values=held.values / 2) if isinstance(held, Ragged) else held / 2)


def halved_signature(signature: Signature) -> Signature:
    """Return the signature with images of half the height and width; `ValueError` without images."""
    if not any(spec.kind == "image" for spec in signature.inputs):
        raise ValueError("the data has no images")
    return replace(signature, inputs=tuple(_halved_input(spec) if spec.kind == "image" else spec for spec in signature.inputs))


def _halved_input(spec: InputSpec) -> InputSpec:
    channels, height, width = spec.typical_shape
    return replace(spec, shape=(channels, -(-height // 2), -(-width // 2)))
