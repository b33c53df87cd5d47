"""The examples of a report are those on which two networks differ most, as the task shows them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tests.tasks.test_tagging import example
from tutelage.data import Batch, Examples, classified
from tutelage.files import strict_json
from tutelage.selection.examples import COUNT, most_different
from tutelage.tasks import Sequences
from tutelage.tasks._classification import Classification
from tutelage.tasks.ocr import Ocr
from tutelage.tasks.tagging import Tagging

NAMES = ("<zero>", "one", "two")


def images(num: int = 30) -> Examples:
    """Return images `[1, 2, 2]` whose first pixel is the example's number."""
    pixels = torch.zeros(num, 1, 2, 2)
    pixels[:, 0, 0, 0] = torch.arange(num)
    return classified(pixels, torch.arange(num) % 3, NAMES)


class Sure(nn.Module):
    """Logits of one class, which grow with the example's number."""

    def __init__(self, best: int) -> None:
        super().__init__()
        self.best = best

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.eye(3)[self.best] * inputs[:, 0, 0, 0].unsqueeze(1)


def test_the_most_different_examples_come_first() -> None:
    found = most_different(Classification(), images(), teacher=Sure(0), student=Sure(1))
    assert found is not None and found["split"] == "validation" and found["compared"] == 30
    assert [one["row"] for one in found["examples"]] == list(range(29, 29 - COUNT, -1))


def test_examples_with_logits_that_are_not_finite_have_finite_distances() -> None:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.full((len(inputs), 3), float("nan"))

    found = most_different(Classification(), images(), teacher=Sure(0), student=Broken())
    assert found is not None and len(found["examples"]) == COUNT and strict_json(found)


def test_of_equal_examples_the_first_are_shown() -> None:
    found = most_different(Classification(), images(), teacher=Sure(0), student=Sure(0))
    assert found is not None and [one["row"] for one in found["examples"]] == list(range(COUNT))


def test_an_example_shows_the_image_the_label_and_what_each_network_predicts() -> None:
    found = most_different(Classification(), images(), teacher=Sure(0), student=Sure(1))
    assert found is not None
    shown = found["examples"][2]["html"]  # example 27, of class 0
    assert "data:image/png" in shown
    assert "<th>label</th><td>&lt;zero&gt;</td>" in shown
    assert "<th>teacher</th><td>&lt;zero&gt; 100%</td>" in shown
    assert "<th>student</th><td><mark>one 100%</mark></td>" in shown


class Constant(nn.Module):
    """The same slot for every token, and the same intent for every sentence."""

    def __init__(self, slot: int, intent: int) -> None:
        super().__init__()
        self.slot, self.intent = slot, intent

    def forward(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        slots = torch.eye(5)[torch.full_like(tokens, self.slot)]
        return {"slots": slots, "intent": torch.eye(2)[torch.full((len(tokens),), self.intent)]}


def test_a_sentence_shows_its_words_and_wrong_labels() -> None:
    found = most_different(Tagging(), example(), teacher=Constant(0, 0), student=Constant(1, 1))
    assert found is not None
    shown = next(one["html"] for one in found["examples"] if one["row"] == 1)  # york on: O B-date, ask
    assert "<td>intent</td><td>on</td><td>monday</td>" in shown
    assert "<th>labels</th><td>ask</td><td>O</td><td>B-date</td>" in shown
    assert "<th>teacher</th><td><mark>book</mark></td><td>O</td><td><mark>O</mark></td>" in shown
    assert "<th>student</th><td>ask</td><td><mark>B-city</mark></td><td><mark>B-city</mark></td>" in shown


def test_a_task_without_examples_to_show_has_none() -> None:
    from tests.tagging import Sentences, TaggingTask
    from tutelage.plugins import PluginConfig

    validation = Sentences.read(PluginConfig(), 0, "validation")
    assert most_different(TaggingTask(), validation, teacher=Constant(0, 0), student=Constant(0, 0)) is None


class Columns(nn.Module):
    """Logits of one character for every `stride` columns, surer for the later examples; a blank elsewhere."""

    def __init__(self, stride: int, best: int) -> None:
        super().__init__()
        self.stride, self.best = stride, best

    def forward(self, columns: Tensor, mask: Tensor) -> Tensor:
        logits = torch.zeros(len(columns), -(-columns.shape[1] // self.stride), 4)
        logits[..., self.best] = torch.arange(len(columns)).unsqueeze(1).float()
        return logits


def test_networks_of_other_strides_are_compared_by_their_label_losses() -> None:
    from tests.tasks.test_ocr import example as lines

    found = most_different(Ocr(), lines(), teacher=Columns(1, 1), student=Columns(2, 0))
    assert found is not None and found["by"] == "loss" and len(found["examples"]) == COUNT
    nats = [one["nats"] for one in found["examples"]]
    assert nats == sorted(nats, reverse=True) and nats[0] > nats[-1]
    assert "data:image/png" in found["examples"][0]["html"] and "<th>student</th>" in found["examples"][0]["html"]


def test_steps_count_as_much_as_the_task_says() -> None:
    class Focused(Classification):
        def focus(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
            return {"class": (torch.arange(len(batch)).unsqueeze(1) < 5).float()}

    found = most_different(Focused(), images(), teacher=Sure(0), student=Sure(1))
    assert found is not None and [one["row"] for one in found["examples"]][:5] == [4, 3, 2, 1, 0]
