"""Rows of weights are matched by the names of classes and tokens, for every network whose heads follow from the task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.plain import SENTENCES, WORDS, architecture_of
from tutelage.networks import checkpoint, class_rows
from tutelage.signature import OutputSpec, Signature

TOKENS = Signature(inputs=(WORDS,), outputs=(OutputSpec(name="token", names=WORDS.names, steps="tokens", is_causal=True),))
SMALL = {"embedding": 4, "width": 4, "depth": 1, "heads": 2}


def about(model: Any, signature: Signature) -> dict[str, Any]:
    return {"version": 2, "model": model, "signature": signature.document()}


def test_a_head_has_a_row_for_each_class_and_an_embedding_for_each_token() -> None:
    slots, intent = SENTENCES.outputs
    assert class_rows.class_axes(about({"bigru": {"embedding": 4, "hidden": 4}}, SENTENCES)) == {
        "stem.table.weight": {0: WORDS.names}, "head.slots.weight": {0: slots.names}, "head.slots.bias": {0: slots.names},
        "head.intent.weight": {0: intent.names}, "head.intent.bias": {0: intent.names},
    }  # fmt: skip


@pytest.mark.parametrize("tied", [True, False])
def test_classes_that_are_tokens_are_changed_together(tied: bool) -> None:
    found = class_rows.class_axes(about({"causal_transformer": {**SMALL, "tied": tied}}, TOKENS))
    assert found["stem.table.weight"] == {0: WORDS.names}
    head = {"head.bias", "head.table.weight"} if tied else {"head.token.weight", "head.token.bias"}
    assert set(found) - {"stem.table.weight"} == head


def test_rows_are_those_of_equal_names_and_a_class_that_is_not_there_has_none() -> None:
    slots, intent = SENTENCES.outputs
    other = replace(SENTENCES, outputs=(replace(slots, names=("I-x", "O", "B-y")), replace(intent, names=("r", "s"))))
    theirs, ours = (about({"transformer": SMALL}, one) for one in (SENTENCES, other))
    weights = checkpoint.seeded(theirs, 0).state_dict()
    found = class_rows.matched(weights, theirs, ours)
    rows = weights["head.slots.weight"]
    assert torch.equal(found["head.slots.weight"][:2], rows[[2, 0]]) and bool(found["head.slots.weight"][2].isnan().all())
    assert set(weights) - set(found) == {"head.intent.weight", "head.intent.bias"}
    own = checkpoint.seeded(ours, 1).state_dict()
    whole = class_rows.filled(found, own)
    assert torch.equal(whole["head.slots.weight"][2], own["head.slots.weight"][2])
    assert all(bool(tensor.isfinite().all()) for tensor in whole.values())


def test_weights_without_names_are_of_our_classes_if_they_are_as_many() -> None:
    theirs = architecture_of({"mlp": {"hidden": 4}}, names="abc")
    weights = checkpoint.seeded(theirs, 0).state_dict()
    assert set(class_rows.matched(weights, None, architecture_of({"mlp": {"hidden": 4}}, names="xyz"))) == set(weights)
    fewer = class_rows.matched(weights, None, architecture_of({"mlp": {"hidden": 4}}, names="ab"))
    assert set(weights) - set(fewer) == {"head.weight", "head.bias"}
