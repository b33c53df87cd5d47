"""The intent of a sentence is its class; all else is as `slots` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.data import test_slots
from tutelage.data import intents, slots
from tutelage.tasks.text_classification import TextClassification


def example(folder: Path) -> dict[str, Any]:
    return test_slots.example(folder)


def test_the_intent_is_the_class_of_a_sentence(tmp_path: Path) -> None:
    options = {**example(tmp_path), "characters": 4}
    found = intents.read(intents.Config(**options), 0, "validation")
    same = slots.read(slots.Config(**options), 0, "validation")
    assert list(found.targets) == ["class"] and found.notes == same.notes
    assert torch.equal(found.targets["class"].values, same.targets["intent"].values)
    assert found.targets["class"].names == ("BookFlight", "GetWeather")
    assert found.input_specs == same.input_specs
    assert [one.name for one in TextClassification().outputs(found)] == ["class"]
    assert intents.read_as(intents.Config(**options), 0, "validation", same.input_specs).input_specs == same.input_specs


def test_few_sentences_have_an_intent(tmp_path: Path) -> None:
    options = {**example(tmp_path), "labelled_per_class": 5}
    found = intents.read(intents.Config(**options), 0, "train")
    same = slots.read(slots.Config(**options), 0, "train")
    assert torch.equal(found.targets["class"].values, same.targets["intent"].values) and found.num_labelled == 10
