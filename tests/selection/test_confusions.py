"""Labels and predictions are counted over labelled steps, for each label sequence and both networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.selection.test_examples import Constant, Sure, images
from tests.tasks.test_tagging import example
from tutelage.data import UNKNOWN, classified
from tutelage.selection.confusions import confusions
from tutelage.tasks._classification import Classification
from tutelage.tasks.ocr import Ocr
from tutelage.tasks.tagging import Tagging


class Known(nn.Module):
    """The right class, but 1 for every example of class 2."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.eye(3)[torch.tensor([0, 1, 1])[inputs[:, 0, 0, 0].long() % 3]]


def test_pairs_of_label_and_prediction_are_counted_the_most_frequent_first() -> None:
    found = confusions(Classification(), images(31), teacher=Known(), student=Sure(0))
    assert found is not None and (found["split"], found["compared"]) == ("validation", 31)
    assert found["sequences"]["class"] == {
        "classes": ["<zero>", "one", "two"],
        "teacher": [[0, 0, 11], [1, 1, 10], [2, 1, 10]], "student": [[0, 0, 11], [1, 0, 10], [2, 0, 10]],
    }  # fmt: skip


def test_examples_without_a_label_are_not_counted() -> None:
    labels = torch.tensor([0, UNKNOWN, 2, UNKNOWN])
    some = classified(torch.zeros(4, 1, 2, 2), labels, ("a", "b", "c"))
    found = confusions(Classification(), some, teacher=Sure(1), student=Sure(1))
    assert found is not None and found["sequences"]["class"]["student"] == [[0, 0, 1], [2, 0, 1]], "of equal logits the first"


def test_each_label_sequence_has_its_own_counts_over_its_real_steps() -> None:
    examples = example()
    found = confusions(Tagging(), examples, teacher=Constant(0, 0), student=Constant(1, 1))
    assert found is not None and list(found["sequences"]) == ["slots", "intent"]
    slots, intent = (found["sequences"][name]["student"] for name in ("slots", "intent"))
    labels = examples.targets["slots"].values.values  # type: ignore[union-attr]
    assert sum(count for *_, count in slots) == int((labels != UNKNOWN).sum())
    assert {predicted for _, predicted, _ in slots} == {1} and sum(count for *_, count in intent) == len(examples)


def test_a_task_that_decodes_no_labels_has_none() -> None:
    assert confusions(Ocr(), images(), teacher=Sure(0), student=Sure(0)) is None
