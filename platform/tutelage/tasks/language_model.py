"""Language modelling: at every token of a text the distribution of the next one.

The label sequence `token` has a step for each token of the input, which depends on this and earlier tokens only. Its labels are
the input shifted by one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.data import UNKNOWN, Batch, Examples, Ragged
from tutelage.errors import InputError
from tutelage.measure import Measure
from tutelage.measures.bits_per_character import MEASURE as BITS
from tutelage.measures.next_token_accuracy import MEASURE as ACCURACY
from tutelage.measures.perplexity import MEASURE as PERPLEXITY
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec
from tutelage.tasks import LabelSequence, Sequences, called, cross_entropy
from tutelage.tasks._bigrams import bigram_nats
from tutelage.tasks._html import Cell, table

SPACE: dict[str, dict[str, object]] = {}
TOKEN = "token"


class Config(PluginConfig):
    """Language modelling has no options."""


def build(config: Config) -> LanguageModel:
    """Return the task."""
    return LanguageModel()


class LanguageModel:
    """The next token; the primary measure is the number of bits a character."""

    measures: tuple[Measure, ...] = (BITS, PERPLEXITY, ACCURACY)

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return `token`, with a step for each token of the input.

        Raises `InputError` for examples without tokens of unequal length, or without their next tokens.
        """
        tokens = next((name for name, one in examples.inputs.items() if one.is_ragged and one.kind == "tokens"), None)
        if tokens is None or TOKEN not in examples.targets:
            lacking = "an input of tokens" if tokens is None else f"the target '{TOKEN}'"
            raise InputError(f"task 'language_model': the data lack {lacking}. The source `characters` has all that it needs.")
        return (OutputSpec(name=TOKEN, names=examples.targets[TOKEN].names, steps=tokens, is_causal=True),)

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return the logits of the next token `[batch, steps, classes]`, with the tokens' mask."""
        return {TOKEN: LabelSequence(logits=called(model, batch, TOKEN)[TOKEN], mask=batch.input_mask)}

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy in nats over each example's tokens `[batch]`."""
        return cross_entropy(sequences[TOKEN], batch.targets[TOKEN], smoothing)

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return each example's sums over its tokens: (nats, characters), (nats, tokens) and (right tokens, tokens).

        A token has the characters of its name. Of equal logits the first class counts. Tokens without a label do not count.
        """
        one, labels = sequences[TOKEN], batch.targets[TOKEN]
        counted = (labels != UNKNOWN) & one.real
        logs = one.logits.where(counted.unsqueeze(-1), 0.0).double().log_softmax(dim=-1)
        known = labels.where(counted, 0)
        nats = -logs.gather(-1, known.unsqueeze(-1)).squeeze(-1)
        sizes = torch.tensor([len(name) for name in batch.names[TOKEN]], device=labels.device)
        parts = {
            "nats": nats, "tokens": torch.ones_like(nats), "characters": sizes[known], "right": logs.argmax(dim=-1) == known,
        }  # fmt: skip
        sums = {name: part.where(counted, 0).sum(dim=1).double() for name, part in parts.items()}
        pairs = {BITS.name: ("nats", "characters"), PERPLEXITY.name: ("nats", "tokens"), ACCURACY.name: ("right", "tokens")}
        return {name: torch.stack([sums[part] for part in pair], dim=1) for name, pair in pairs.items()}

    def decode(self, sequences: Sequences, batch: Batch) -> list[list[int]]:
        """Return the most likely next token at each token of every example, without padding."""
        return sequences[TOKEN].unpadded(sequences[TOKEN].logits.argmax(dim=-1))

    def show(self, example: Examples, outputs: Mapping[str, Sequences]) -> str:
        """Return a table: the tokens, and at each the true and the predicted next token; wrong ones are marked."""
        batch = example.take(slice(None))
        names, (labels,) = example.targets[TOKEN].names, batch.targets[TOKEN]
        (vocabulary,) = (one.names for one in example.inputs.values())
        (tokens,) = next(iter(batch.inputs.values()))
        rows = {
            "": [Cell(visible(vocabulary[token])) for token in tokens],
            "next": [Cell("" if label == UNKNOWN else visible(names[label])) for label in labels],
        }
        for role, sequences in outputs.items():
            (found,) = self.decode(sequences, batch)
            rows[role] = [
                Cell(visible(names[one]), int(label) not in (one, UNKNOWN)) for one, label in zip(found, labels, strict=True)
            ]
        return table(rows)

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the bits a character on validation of a model that counts the pairs of tokens in training (`_bigrams`)."""
        names = train.targets[TOKEN].names
        pairs, others = _pairs(train), _pairs(validation)
        characters = sum(torch.tensor([len(name) for name in names])[others[1]].tolist())
        nats = bigram_nats(pairs, others, max(len(names), len(next(iter(train.inputs.values())).names)))
        return BITS.aggregate(np.array([[float(nats.sum()), characters]]))


def visible(token: str) -> str:
    """Return a token whose blanks and ends of lines can be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def _pairs(examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the tokens of all examples one after another, and the labelled next ones of these."""
    (tokens,), following = examples.inputs.values(), examples.targets[TOKEN]
    assert isinstance(tokens.values, Ragged) and isinstance(following.values, Ragged)
    known = following.values.values != UNKNOWN
    return tokens.values.values[known].long(), following.values.values[known].long()
