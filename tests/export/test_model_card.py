"""The model card shows what others named, and none of it is mark-up, front matter or code."""

from __future__ import annotations

import re

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.plain import architecture_of
from tests.test_escaping import HOSTILE
from tutelage.export.model_card import Card, text
from tutelage.export.snippets import with_onnxruntime
from tutelage.objectives import objective
from tutelage.signature import InputSpec, OutputSpec, Signature


def card_of(word: str, architecture: dict[str, object]) -> Card:
    score = {"value": 0.9, "interval": [0.8, 0.95], "n": 10}
    return Card(
        name=word or "x", architecture=architecture, forms=["weights", "onnx"], licence=word,
        sweep={
            "task": word, "data": f"image_folder (path: {word})", "fingerprint": "f" * 20,
            "teacher": {"params": 10.0, "accuracy": 0.9, "address": "abc", "source": {"data": word}},
        },
        selection={"test": score, "distillation": word, "test_warning": word, "confirmed": {}},
        variants=[(word, False)], measures={"accuracy": objective("accuracy").measure},
        record={"measures": {"accuracy": 0.9}, "config": {"student": {"model": {word: {}}}}},
    )  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_in_a_card_is_mark_up_of_others(word: str) -> None:
    architecture = {**architecture_of({word: {}}, names=[word, *"abcdefghi"])}
    card = text(card_of(word, architecture))
    _, front, body = card.split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"license", "tags"}
    rendered = MarkdownIt("commonmark").enable("table").render(body)
    assert set(re.findall(r"<(\w+)", rendered)) <= {
        "h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "strong", "ul", "li",
    }  # fmt: skip
    assert "\x1b" not in card


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "no", "a: b\nmalicious: true", "[", ""])
def test_a_licence_is_one_text_in_the_front_matter(licence: str) -> None:
    card = text(Card(name="x", architecture=architecture_of("mlp"), forms=[], licence=licence))
    assert yaml.safe_load(card.split("---\n")[1])["license"] == licence


def test_the_names_of_inputs_are_text_in_the_snippets() -> None:
    name = 'x": __import__("os").system("touch RAN"), "y'
    inputs = (InputSpec(name=name, kind="tokens", dtype="int64", shape=("steps",)),)
    code = with_onnxruntime(Signature(inputs=inputs, outputs=(OutputSpec(name="z", names=("a", "b")),)), "model.onnx")
    assert "__import__" not in compile(code, "snippet", "exec").co_names


@pytest.mark.parametrize(("first", "is_said"), [("cat", True), ("<blank>", False), ("<background>", False)])
def test_only_a_network_that_always_finds_a_class_is_said_to(first: str, is_said: bool) -> None:
    columns = InputSpec(name="columns", kind="frames", shape=("columns_steps", 1, 8))
    output = OutputSpec(name="characters", names=(first, "b"), steps="columns")
    document = Signature(inputs=(columns,), outputs=(output,)).document()
    card = text(Card(name="x", architecture={**architecture_of("mlp"), "signature": document}, forms=[], licence="MIT"))
    assert ("there is no “none of these”" in card) is is_said
    assert "steps along `columns`, at the network's stride; classes: " in card
