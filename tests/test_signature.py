"""A network's signature as JSON and as blank arguments."""

from __future__ import annotations

import json

import torch

from tutelage.networks.blank import argument_names, blank_arguments
from tutelage.signature import InputSpec, OutputSpec, Signature, signature_of

SIGNATURE = Signature(
    inputs=(
        InputSpec(name="image", kind="image", shape=(1, 8, 8), mean=(0.5,), std=(2.0,)),
        InputSpec(name="words", kind="tokens", dtype="int64", shape=("words_steps",), steps=5, names=("a", "b")),
    ),
    outputs=(
        OutputSpec(name="slots", names=("none", "city"), steps="words"),
        OutputSpec(name="intent", names=("buy", "sell", "ask")),
    ),
)


def test_a_signature_round_trips_through_json() -> None:
    assert signature_of(json.loads(json.dumps(SIGNATURE.document()))) == SIGNATURE


def test_shorthand_properties_describe_the_first_input_and_output() -> None:
    assert SIGNATURE.example_shape == (1, 8, 8) and SIGNATURE.class_names == ("none", "city")
    assert SIGNATURE.classes == {"slots": 2, "intent": 3}
    one = Signature(inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs[1:]).with_class_names(("x", "y"))
    assert one.outputs == (OutputSpec(name="intent", names=("x", "y")),)


def test_blank_arguments_have_every_name_type_and_shape() -> None:
    image, words, mask = blank_arguments(SIGNATURE, 3)
    assert argument_names(SIGNATURE) == ("image", "words", "words_mask")
    assert (image.shape, words.shape, mask.shape) == ((3, 1, 8, 8), (3, 5), (3, 5))
    assert (image.dtype, words.dtype, mask.dtype) == (torch.float32, torch.int64, torch.bool) and mask.all()
