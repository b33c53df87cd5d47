"""Tagging: a slot label for each token, and an intent for the whole sentence, as a chatbot understands a request.

The label sequences are `slots`, with a step for each token, and `intent`, with one step. Slot labels are in the IOB format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.data import UNKNOWN, Batch, Examples
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.measures.intent_accuracy import MEASURE as INTENT_ACCURACY
from tutelage.measures.sentence_accuracy import MEASURE as SENTENCE_ACCURACY
from tutelage.measures.slot_f1 import MEASURE as SLOT_F1
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec
from tutelage.tasks import LabelSequence, Sequences, called, cross_entropy
from tutelage.tasks._chunks import check_names, counts
from tutelage.tasks._html import Cell, table
from tutelage.tasks._valid_labels import best_joint, best_valid, check_begins

SPACE: dict[str, dict[str, object]] = {}
SLOTS, INTENT = "slots", "intent"
Decode = Literal["largest", "valid", "joint"]


class Config(PluginConfig):
    """How the two label losses are weighted, and how slot labels are chosen."""

    slots_weight: float = Field(
        0.5, ge=0, le=1, description="share of the slots' loss in a sentence's loss; the intent has the rest"
    )
    decode: Decode = Field(
        "largest",
        description="slot labels of a sentence; largest: the most probable of each token; valid: the most probable sequence in "
        "which I- follows B- or I- of the same type (for data in which every slot starts with B-); joint: the most probable "
        "valid sequence and intent together, where a sequence has only labels that training has for that intent",
    )


def build(config: Config) -> Tagging:
    """Return the task."""
    return Tagging(config.slots_weight, config.decode)


class Tags(NamedTuple):
    """Predictions: for every sentence the class indices of its tokens' slot labels, and that of its intent."""

    slots: list[list[int]]
    intents: list[int]


class Tagging:
    """Slots and intents; the primary measure is the F1 of slots."""

    measures: tuple[Measure, ...] = (SLOT_F1, INTENT_ACCURACY, SENTENCE_ACCURACY)

    def __init__(self, slots_weight: float = 0.5, decode: Decode = "largest") -> None:
        self.slots_weight, self.decoding = slots_weight, decode

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return `slots`, with a step for each token, and `intent`.

        Raises `InputError` for examples without tokens or without one of the targets, and for slot labels that are not IOB.
        """
        tokens = next((name for name, one in examples.inputs.items() if one.is_ragged), None)
        absent = [name for name in (SLOTS, INTENT) if name not in examples.targets]
        if tokens is None or absent:
            lacking = ", ".join(f"the target '{name}'" for name in absent) or "an input with a step for each token"
            raise InputError(f"task 'tagging': the data lack {lacking}. The source `slots` has all that this task needs.")
        names = {name: examples.targets[name].names for name in (SLOTS, INTENT)}
        check_names(names[SLOTS], "task 'tagging'")
        if self.decoding != "largest":
            check_begins(names[SLOTS], f"task 'tagging': decode: {self.decoding}")
        if self.decoding == "joint" and INTENT not in examples.targets[SLOTS].seen_with:
            raise InputError(
                "task 'tagging': decode: joint needs data that say which slot labels training has for each intent, as those of "
                "the source `slots` do. Set decode: valid."
            )
        return (OutputSpec(name=SLOTS, names=names[SLOTS], steps=tokens), OutputSpec(name=INTENT, names=names[INTENT]))

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the logits of the slots `[batch, steps, classes]`, with the tokens' mask, and those of the intent."""
        found = called(model, batch, SLOTS, INTENT)
        return {SLOTS: LabelSequence(logits=found[SLOTS], mask=batch.input_mask), INTENT: LabelSequence(logits=found[INTENT])}

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the weighted sum, in nats, of the mean cross-entropy over the tokens and that of the intent."""
        slots = cross_entropy(sequences[SLOTS], batch.targets[SLOTS], smoothing)
        intent = cross_entropy(sequences[INTENT], batch.targets[INTENT].unsqueeze(1), smoothing)
        return self.slots_weight * slots + (1 - self.slots_weight) * intent

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return (correct, found, true) slots `[batch, 3]`, and 1 for a right intent and a right sentence, otherwise 0.

        Slots are those of `decode`. Tokens without a label count neither for nor against.
        """
        slots, intents = self._best(sequences, batch)
        true = batch.targets[SLOTS]
        real = (true != UNKNOWN) & sequences[SLOTS].real
        is_right = intents == batch.targets[INTENT]
        is_whole = is_right & ((slots == true) | ~real).all(dim=1)
        return {
            SLOT_F1.name: counts(slots, true, real, batch.names[SLOTS]),
            INTENT_ACCURACY.name: is_right.double().unsqueeze(1),
            SENTENCE_ACCURACY.name: is_whole.double().unsqueeze(1),
        }

    def decode(self, sequences: Sequences, batch: Batch) -> Tags:
        """Return the slot labels and the intent with the largest logits, without padding; of equal ones the first.

        With the option `decode: valid`, the slot labels are the valid sequence with the largest sum of logits; with `joint`,
        valid sequence and intent are those of the largest probability together.
        """
        slots, intents = self._best(sequences, batch)
        return Tags(sequences[SLOTS].unpadded(slots), intents.tolist())

    def decoded_labels(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return the slot labels `[batch, steps]` and the intent `[batch, 1]` of `decode`."""
        slots, intents = self._best(sequences, batch)
        return {SLOTS: slots, INTENT: intents.unsqueeze(1)}

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return a table: the words, and their true and predicted slot labels and intents; wrong ones are marked."""
        batch = example.take(slice(None))
        words, slots, intents = (
            one.names for one in (*example.inputs.values(), example.targets[SLOTS], example.targets[INTENT])
        )
        (tokens,), (labels,), (intent,) = batch.words, batch.targets[SLOTS], batch.targets[INTENT]
        rows = {
            "": [Cell("intent"), *(Cell(words[token]) for token in tokens)],
            "labels": [Cell(_name(intents, int(intent))), *(Cell(_name(slots, int(label))) for label in labels)],
        }
        for role, sequences in outputs.items():
            (found,), (own,) = self.decode(sequences, batch)
            tags = [Cell(slots[tag], int(label) not in (tag, UNKNOWN)) for tag, label in zip(found, labels, strict=True)]
            rows[role] = [Cell(intents[own], int(intent) not in (own, UNKNOWN)), *tags]
        return table(rows)

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the validation F1 of giving every token the label that it has most often in training; of ties, the first.

        A token that has no label in training has the commonest label of all.
        """
        batch, name = validation.take(slice(None)), train.targets[SLOTS].names
        tokens = next(iter(train.inputs))
        shape = (len(train.inputs[tokens].names), len(name))
        seen = train.take(slice(None))
        known = seen.masks[tokens] & (seen.targets[SLOTS] != UNKNOWN)
        table = torch.zeros(shape, dtype=torch.int64).index_put_(
            (seen.words[known], seen.targets[SLOTS][known]), torch.tensor(1), accumulate=True
        )  # fmt: skip
        commonest = table.sum(dim=0).argmax()
        guessed = table.argmax(dim=1).where(table.any(dim=1), commonest)[batch.words]
        return SLOT_F1.aggregate(counts(guessed, batch.targets[SLOTS], batch.masks[tokens], name).numpy())

    def _best(self, sequences: Sequences, batch: Batch) -> tuple[Tensor, Tensor]:
        slots, intents = sequences[SLOTS], sequences[INTENT].logits[:, 0]
        names = batch.names[SLOTS] if self.decoding != "largest" else ()
        if self.decoding == "joint":
            seen = batch.seen_with[SLOTS][INTENT].to(intents.device)
            return best_joint(slots.logits, intents, slots.mask, names, seen)
        best = best_valid(slots.logits, slots.mask, names) if self.decoding == "valid" else slots.logits.argmax(dim=-1)
        return best, intents.argmax(dim=-1)


def _name(names: Sequence[str], label: int) -> str:
    """Return the name of a label; "?" for an unlabelled token."""
    return "?" if label == UNKNOWN else names[label]
