"""Text classification: one class a text."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.data import UNKNOWN, Examples
from tutelage.errors import InputError
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec
from tutelage.tasks import Sequences
from tutelage.tasks._classification import NAME, Classification, class_output
from tutelage.tasks._html import Cell, table

SPACE: dict[str, dict[str, object]] = {}


class Config(PluginConfig):
    """Text classification has no options."""


def build(config: Config) -> TextClassification:
    """Return the task."""
    return TextClassification()


class TextClassification(Classification):
    """Classification of sequences of tokens; the primary measure is accuracy."""

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return the label sequence `class`, which has one step. Raises `InputError` for examples without tokens or a class."""
        if NAME not in examples.targets or not _is_text(examples):
            raise InputError(
                "task 'text_classification': the data have no tokens with one class each. The sources `text` and `intents` "
                "have them."
            )
        return class_output(examples)

    def baseline_logits(self, train: Examples, validation: Examples, rows: Tensor) -> Tensor:
        """Return the scores of a naive Bayes classifier, as `naive_bayes` does."""
        return naive_bayes(train, validation, rows)

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return the words, above the true class and each network's most probable ones."""
        (field,) = example.inputs.values()
        text = " ".join(field.names[word] for word in example.take(slice(None)).words[0].tolist())
        return table({"text": [Cell(text)]}) + super().show(example, outputs)


def _is_text(examples: Examples) -> bool:
    return len(examples.inputs) == 1 and all(one.kind == "tokens" and one.is_ragged for one in examples.inputs.values())


def naive_bayes(train: Examples, validation: Examples, rows: Tensor) -> Tensor:
    """Return log P(class) + Σ log P(token | class) of the validation texts, `[n, classes]` (Maron, 1961).

    Both are those of the labelled training `rows`, with one more of every token in every class.
    """
    (name, field), seen, other = next(iter(train.inputs.items())), train.take(rows), validation.take(slice(None))
    labels, num_classes = seen.targets[NAME], len(train.targets[NAME].names)
    assert (labels != UNKNOWN).all()
    counts = torch.ones(num_classes, len(field.names))
    mask = seen.masks[name]
    counts.index_put_(
        (labels.unsqueeze(1).expand_as(mask)[mask], seen.words[mask]), torch.ones(()), accumulate=True
    )  # fmt: skip
    prior = torch.bincount(labels, minlength=num_classes).clamp(min=1e-9).log()
    likelihood = (counts / counts.sum(dim=1, keepdim=True)).log().T[other.words]  # [n, steps, classes]
    scores: Tensor = prior + torch.where(other.masks[name].unsqueeze(-1), likelihood, 0).sum(dim=1)
    return scores
