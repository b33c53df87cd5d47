from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from tutelage import plugins
from tutelage.data import UNKNOWN, Split
from tutelage.sweep import linear_baseline


@pytest.fixture(scope="module")
def digits() -> tuple[Split, Split]:
    _, plugin, config = plugins.configure("data", "digits")
    return plugin.read(config, 0, "train"), plugin.read(config, 0, "validation")


def test_it_is_the_ridge_classifier_of_the_textbook(digits: tuple[Split, Split]) -> None:
    train, validation = digits
    rows = train.seen(slice(None)).flatten(1).double().numpy()
    penalty = linear_baseline.RIDGE * ((rows - rows.mean(0)) ** 2).sum(0).mean()
    reference = RidgeClassifier(alpha=penalty).fit(rows, train.labels[:, 0])
    expected = reference.score(validation.seen(slice(None)).flatten(1).numpy(), validation.labels[:, 0])
    assert linear_baseline.linear_accuracy(train, validation) == pytest.approx(expected, abs=0.006)
    assert expected > 0.8


def test_large_images_are_averaged_down(digits: tuple[Split, Split]) -> None:
    enlarged = [
        Split(inputs=split.inputs.repeat_interleave(16, 2).repeat_interleave(16, 3), labels=split.labels,
              class_names=split.class_names)
        for split in digits
    ]  # fmt: skip
    assert enlarged[0].example_shape == (1, 128, 128)
    assert linear_baseline.linear_accuracy(*enlarged) == pytest.approx(linear_baseline.linear_accuracy(*digits), abs=0.02)


def test_labels_that_mean_nothing_are_guessed(digits: tuple[Split, Split]) -> None:
    train, validation = digits
    shuffled = train.labels[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
    guesses = Split(inputs=train.inputs, labels=shuffled, class_names=train.class_names)
    assert linear_baseline.linear_accuracy(guesses, validation) < 0.25


def test_it_learns_from_labelled_examples_only(digits: tuple[Split, Split]) -> None:
    train, validation = digits
    half = torch.arange(len(train)) % 2 == 0
    known = replace(train, inputs=train.inputs[half], labels=train.labels[half])
    hidden = replace(train, labels=train.labels.where(half.unsqueeze(1), UNKNOWN))
    assert linear_baseline.linear_accuracy(hidden, validation) == linear_baseline.linear_accuracy(known, validation) > 0.8


def test_without_labels_it_knows_nothing_and_with_one_class_it_answers_that(digits: tuple[Split, Split]) -> None:
    train, validation = digits
    none = replace(train, labels=torch.full_like(train.labels, UNKNOWN))
    sevens = replace(train, labels=train.labels.where(train.labels == 7, UNKNOWN))
    assert linear_baseline.linear_accuracy(none, validation) == 0.0
    assert linear_baseline.linear_accuracy(sevens, validation) == pytest.approx(float((validation.labels == 7).float().mean()))
