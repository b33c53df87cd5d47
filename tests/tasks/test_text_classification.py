"""Texts with a class each: the baseline is naive Bayes as scikit-learn computes it, and padding counts for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import MultinomialNB

from tutelage.data import UNKNOWN, Examples, Field, Ragged, classified, ragged
from tutelage.errors import InputError
from tutelage.tasks import LabelSequence, image_classification, tabular_classification
from tutelage.tasks.text_classification import TextClassification, naive_bayes

WORDS, CLASSES = ("<unknown>", "fine", "poor", "film", "it"), ("bad", "good", "odd")


def example(count: int = 40, seed: int = 0) -> Examples:
    """Return texts in which the tokens of a class are more frequent."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    texts = [
        torch.where(
            torch.rand(length, generator=generator) < 0.4, label + 1, torch.randint(0, 5, (length,), generator=generator)
        )
        for label, length in zip(labels.tolist(), torch.randint(1, 9, (count,), generator=generator).tolist(), strict=True)
    ]
    return Examples(
        inputs={"tokens": Field(values=ragged(texts), kind="tokens", names=WORDS)},
        targets={"class": Field(values=labels, kind="class", names=CLASSES)},
    )


def counted(examples: Examples) -> np.ndarray:
    values = examples.inputs["tokens"].values
    assert isinstance(values, Ragged)
    texts = [values.take(torch.tensor([row])).values for row in range(len(values))]
    return np.stack([torch.bincount(text, minlength=len(WORDS)).numpy() for text in texts])


def test_the_baseline_is_naive_bayes() -> None:
    train, validation = example(60), example(50, seed=1)
    labels = train.targets["class"].values
    assert isinstance(labels, torch.Tensor)
    reference = MultinomialNB().fit(counted(train), labels.numpy())
    found = naive_bayes(train, validation, torch.arange(60)).log_softmax(dim=1)
    np.testing.assert_allclose(found.numpy(), reference.predict_log_proba(counted(validation)), atol=1e-4)
    expected = reference.score(counted(validation), np.arange(50) % 3)
    assert TextClassification().baseline(train, validation) == pytest.approx(expected) and expected > 0.5


def test_unlabelled_texts_are_left_out_of_the_baseline() -> None:
    train = example(60)
    labels = train.targets["class"].values
    assert isinstance(labels, torch.Tensor)
    known = torch.arange(60) < 45
    partly = Examples(
        inputs=train.inputs, targets={"class": Field(values=labels.where(known, UNKNOWN), kind="class", names=CLASSES)}
    )
    task, validation = TextClassification(), example(50, seed=1)
    assert task.baseline(partly, validation) == task.baseline(train.head(45), validation)
    none = Examples(
        inputs=train.inputs, targets={"class": Field(values=torch.full((60,), UNKNOWN), kind="class", names=CLASSES)}
    )
    assert task.baseline(none, validation) == 0.0


def test_a_text_shows_its_words() -> None:
    shown = TextClassification().show(
        example().head(1), {"student": {"class": LabelSequence(logits=torch.eye(3)[:1].unsqueeze(1))}}
    )
    assert "&lt;unknown&gt;" in shown or "fi" in shown
    assert "<th>label</th><td>bad</td>" in shown and "<th>student</th><td>bad 58%</td>" in shown


def test_other_examples_are_an_error() -> None:
    with pytest.raises(InputError, match="no tokens with one class each"):
        TextClassification().outputs(classified(torch.zeros(4, 3), torch.arange(4) % 2, ("a", "b")))


@pytest.mark.parametrize("task", [image_classification, tabular_classification])
def test_texts_are_no_data_for_the_tasks_of_numbers(task: Any) -> None:
    """Their baseline would read the number of a word as a brightness; the task of images is the default."""
    with pytest.raises(InputError, match=r"'tokens' are tokens. Set `task` to that of the data, such as text_classification"):
        task.build(task.Config()).outputs(example())
    texts = example()
    intents = Examples(inputs=texts.inputs, targets={"intent": texts.targets["class"]})
    with pytest.raises(InputError, match=r"with the target 'class', and"):
        task.build(task.Config()).outputs(intents)
