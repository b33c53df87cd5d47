"""A task of token sequences: the slot of every token and the intent of the whole; referred to as `tests.tagging:Name`.

Sentences are drawn from a small vocabulary by a grammar: a verb, then places, days and fillers. A token's slot is its kind,
and the verb decides the intent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Batch, Examples, Field, SplitName, ragged
from tutelage.masks import masked_mean
from tutelage.measure import Measure
from tutelage.models import heads
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec, Signature
from tutelage.tasks import LabelSequence, Sequences, called, cross_entropy

SLOTS, INTENTS = ("verb", "place", "day", "filler"), ("book", "ask")
VOCABULARY = ("book", "ask", "rome", "oslo", "monday", "friday", "please", "to", "on")
SLOT_OF = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 3])
SIZES = {"train": 300, "validation": 60, "test": 60}


class Sentences:
    """Sentences of 1 to 7 tokens."""

    SPACE: dict[str, Any] = {}
    Config = PluginConfig

    @staticmethod
    def read(config: PluginConfig, seed: int, split: SplitName) -> Examples:
        """Return one split: tokens, their slots, and the intent."""
        generator = torch.Generator().manual_seed(seed + 1000 * list(SIZES).index(split))
        lengths = torch.randint(0, 7, (SIZES[split],), generator=generator).tolist()
        verbs = torch.randint(0, 2, (SIZES[split], 1), generator=generator)
        rest = [torch.randint(2, len(VOCABULARY), (length,), generator=generator) for length in lengths]
        tokens = [torch.cat(pair) for pair in zip(verbs, rest, strict=True)]
        return Examples(
            inputs={"tokens": Field(values=ragged(tokens), kind="tokens", names=VOCABULARY)},
            targets={
                "slots": Field(values=ragged([SLOT_OF[one] for one in tokens]), kind="class", names=SLOTS),
                "intent": Field(values=verbs.flatten(), kind="class", names=INTENTS),
            },
        )


SLOT_ERROR = Measure(
    name="slot_error", label="slot error", unit="share", direction="minimise", meaning="mean share of a sentence's wrong slots",
    low=0.0, high=1.0, reference=1.0, available="each_epoch", spread="mean",
)  # fmt: skip
INTENT_ACCURACY = Measure(
    name="request_accuracy", label="request accuracy", unit="share", direction="maximise",
    meaning="share of sentences with the right intent", low=0.0, high=1.0, reference=0.0, available="each_epoch",
    spread="share",
)  # fmt: skip


class Tagging:
    """The slots and the intent of a sentence."""

    SPACE: dict[str, Any] = {}
    Config = PluginConfig

    @staticmethod
    def build(config: PluginConfig) -> TaggingTask:
        """Return the task."""
        return TaggingTask()


class TaggingTask:
    """Its six verbs."""

    measures = (SLOT_ERROR, INTENT_ACCURACY)

    def outputs(self, examples: Examples) -> tuple[OutputSpec, ...]:
        """Return a step for each token, and one for the intent."""
        return (OutputSpec(name="slots", names=SLOTS, steps="tokens"), OutputSpec(name="intent", names=INTENTS))

    def forward(self, model: nn.Module, batch: Batch) -> Sequences:
        """Return both label sequences."""
        found = called(model, batch, "slots", "intent")
        return {
            "slots": LabelSequence(logits=found["slots"], mask=batch.masks["tokens"]),
            "intent": LabelSequence(logits=found["intent"]),
        }

    def loss(self, sequences: Sequences, batch: Batch, smoothing: float = 0.0) -> Tensor:
        """Return the sum of both cross-entropies."""
        intent = cross_entropy(sequences["intent"], batch.targets["intent"].unsqueeze(1), smoothing)
        return cross_entropy(sequences["slots"], batch.targets["slots"], smoothing) + intent

    def evaluate(self, sequences: Sequences, batch: Batch) -> Mapping[str, Tensor]:
        """Return the share of wrong slots, and whether the intent is right."""
        slots, intents = self.decode(sequences, batch)
        wrong = masked_mean((slots != batch.targets["slots"]).double(), sequences["slots"].mask)
        right = (intents == batch.targets["intent"]).double()
        return {"slot_error": wrong.unsqueeze(1), "request_accuracy": right.unsqueeze(1)}

    def decode(self, sequences: Sequences, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the slot of every step, and the intent."""
        return sequences["slots"].logits.argmax(dim=-1), sequences["intent"].logits[:, 0].argmax(dim=-1)

    def baseline(self, train: Examples, validation: Examples) -> float:
        """Return the slot error of guessing."""
        return 0.75


class Tagger(nn.Module):
    """Embeddings of tokens and positions, a layer of attention, and the heads; at most `longest` tokens."""

    def __init__(self, signature: Signature, width: int = 8, longest: int = 40) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(signature.inputs[0].names), width)
        self.positions = nn.Parameter(torch.randn(longest, width) / 10)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.stage1 = nn.Sequential(nn.Linear(width, 16), nn.ReLU())
        self.head = heads(16, signature)

    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        """Return the logits of both label sequences."""
        features = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        features = features + self.attention(features, features, features, key_padding_mask=~mask, need_weights=False)[0]
        return self.head(self.stage1(features), mask)


class Leaky(Tagger):
    """A tagger that ignores the mask."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        """Return the logits of both label sequences, which padding changes."""
        return super().forward(tokens, torch.ones_like(mask))
