"""Classification: one class an example, which is a label sequence of one step named `class`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.data import UNKNOWN, Batch, Examples
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.measures.accuracy import MEASURE as ACCURACY
from tutelage.signature import OutputSpec
from tutelage.tasks import LabelSequence, Sequences, called
from tutelage.tasks._html import Cell, picture, table
from tutelage.tasks._linear import linear_logits

NAME = "class"
SHOWN = 3  # most probable classes in a report


def class_output(examples: Examples) -> tuple[OutputSpec, ...]:
    """Return the label sequence `class` of the examples, which has one step."""
    return (OutputSpec(name=NAME, names=examples.targets[NAME].names),)


class Classification:
    """Classification of examples of numbers, of any shape; the primary measure is accuracy."""

    measures: tuple[Measure, ...] = (ACCURACY,)

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return the label sequence `class`, which has one step.

        Raises `InputError` for examples without a class each, and for tokens, which are no numbers.
        """
        listed = [name for name, one in examples.inputs.items() if one.kind == "tokens"]
        if NAME not in examples.targets or listed:
            lacking = f"'{listed[0]}' are tokens" if listed else f"the targets are {', '.join(examples.targets) or 'none'}"
            raise InputError(
                f"the task classifies images or rows of numbers, with the target '{NAME}', and {lacking}. Set `task` to that "
                "of the data, such as text_classification, tagging or language_model of texts; image_classification is the "
                "default."
            )
        return class_output(examples)

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the logits `[batch, 1, classes]`."""
        return {NAME: LabelSequence(logits=called(model, batch, NAME)[NAME])}

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the cross-entropy in nats of every example `[batch]`; 0 for an unlabelled one."""
        logits, labels = sequences[NAME].logits[:, 0], batch.targets[NAME]
        return functional.cross_entropy(
            logits, labels, ignore_index=UNKNOWN, label_smoothing=smoothing, reduction="none"
        )  # fmt: skip

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return 1 for each example whose label has the largest logit, otherwise 0; of equal logits the first class counts."""
        right = self.decode(sequences, batch) == batch.targets[NAME]
        return {ACCURACY.name: right.double().unsqueeze(1)}

    def decode(self, sequences: Sequences, batch: Batch) -> Tensor:
        """Return the class with the largest logit, int64 `[batch]`."""
        return sequences[NAME].logits[:, 0].argmax(dim=-1)

    def decoded_labels(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return the class with the largest logit, int64 `[batch, 1]`."""
        return {NAME: self.decode(sequences, batch).unsqueeze(1)}

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return the image, if there is one, and a table of the true class and each network's three most probable ones."""
        names, target = example.targets[NAME].names, int(example.take_targets(slice(None))[0][NAME])
        true = names[target] if target != UNKNOWN else "?"
        rows = {"label": [Cell(true)]}
        for role, sequences in outputs.items():
            shares, classes = sequences[NAME].logits[0, 0].float().softmax(dim=-1).topk(min(SHOWN, len(names)))
            found = zip(shares.tolist(), classes.tolist(), strict=True)
            rows[role] = [
                Cell(f"{names[one]} {share:.0%}", one != target != UNKNOWN and not place)
                for place, (share, one) in enumerate(found)
            ]
        images = [
            one.take(slice(None))[0][0] for one in example.inputs.values() if one.kind == "image" and one.num_channels in (1, 3)
        ]
        return "".join(picture(one, true) for one in images) + table(rows)

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the validation accuracy of `baseline_logits`; 0 if no training example is labelled."""
        rows = train.labelled.nonzero().flatten()
        if not len(rows):
            return 0.0
        logits = self.baseline_logits(train, validation, rows)
        batch = Batch(inputs={}, targets=validation.take_targets(slice(None))[0])
        return float(torch.mean(self.evaluate({NAME: LabelSequence(logits=logits.unsqueeze(1))}, batch)[ACCURACY.name]))

    def baseline_logits(self, train: Examples, validation: Examples, rows: Tensor) -> Tensor:
        """Return the scores `[n, classes]` for the validation examples of a ridge classifier fitted to the training `rows`."""
        return linear_logits(train, validation, rows, train.targets[NAME].take(rows)[0], len(train.targets[NAME].names))
