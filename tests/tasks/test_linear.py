from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from tests.plain import Plain
from tutelage import plugins
from tutelage.data import UNKNOWN, Examples, classified
from tutelage.tasks import _linear
from tutelage.tasks._classification import Classification


@pytest.fixture(scope="module")
def digits() -> tuple[Plain, Plain]:
    _, plugin, config = plugins.configure("data", "digits")
    return Plain(plugin.read(config, 0, "train")), Plain(plugin.read(config, 0, "validation"))


def accuracy(train: Examples, validation: Plain) -> float:
    return Classification().baseline(train, validation.examples)


def labelled(split: Plain, labels: torch.Tensor) -> Examples:
    return classified(split.inputs, labels, split.class_names)


def test_scores_are_those_of_the_closed_form_ridge_classifier(digits: tuple[Plain, Plain]) -> None:
    train, validation = digits
    rows = train.seen().flatten(1).double().numpy()
    penalty = _linear.RIDGE * ((rows - rows.mean(0)) ** 2).sum(0).mean()
    reference = RidgeClassifier(alpha=penalty).fit(rows, train.labels)
    expected = reference.score(validation.seen().flatten(1).numpy(), validation.labels)
    assert accuracy(train.examples, validation) == pytest.approx(expected, abs=0.006)
    assert expected > 0.8


def test_large_images_are_averaged_down(digits: tuple[Plain, Plain]) -> None:
    enlarged = [
        Plain(classified(split.inputs.repeat_interleave(16, 2).repeat_interleave(16, 3), split.labels, split.class_names))
        for split in digits
    ]
    assert enlarged[0].example_shape == (1, 128, 128)
    assert accuracy(enlarged[0].examples, enlarged[1]) == pytest.approx(accuracy(digits[0].examples, digits[1]), abs=0.02)


def test_random_labels_give_chance_accuracy(digits: tuple[Plain, Plain]) -> None:
    train, validation = digits
    shuffled = train.labels[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
    assert accuracy(labelled(train, shuffled), validation) < 0.25


def test_unlabelled_examples_do_not_change_the_baseline(digits: tuple[Plain, Plain]) -> None:
    train, validation = digits
    half = torch.arange(len(train)) % 2 == 0
    known = classified(train.inputs[half], train.labels[half], train.class_names)
    hidden = labelled(train, train.labels.where(half, UNKNOWN))
    assert accuracy(hidden, validation) == accuracy(known, validation) > 0.8


def test_the_baseline_without_labels_is_0_and_with_one_class_predicts_it(digits: tuple[Plain, Plain]) -> None:
    train, validation = digits
    none = labelled(train, torch.full_like(train.labels, UNKNOWN))
    sevens = labelled(train, train.labels.where(train.labels == 7, UNKNOWN))
    assert accuracy(none, validation) == 0.0
    assert accuracy(sevens, validation) == pytest.approx(float((validation.labels == 7).float().mean()))


def test_the_baseline_samples_every_class_of_many_sorted_examples(
    monkeypatch: pytest.MonkeyPatch, digits: tuple[Plain, Plain]
) -> None:
    """The first rows of an image folder all belong to its first classes."""
    train, validation = digits
    order = train.labels.argsort(stable=True)
    monkeypatch.setattr(_linear, "MAX_ROWS", 300)
    sorted_train = classified(train.inputs[order], train.labels[order], train.class_names)
    assert accuracy(sorted_train, validation) > 0.7
