"""Shared by the networks that read sentences: the embedding of tokens, and stages that take a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tutelage import initial_weights
from tutelage.errors import InputError
from tutelage.models import _static_embeddings as static
from tutelage.models import heads, keep_width, over_steps
from tutelage.plugins import PluginConfig
from tutelage.signature import InputSpec, Signature, character_of


class TokenConfig(PluginConfig):
    """What all networks with embeddings of tokens can set."""

    embedding: int = Field(64, ge=1, le=4096, description="channels of a token's embedding")
    pretrained: static.Package | None = Field(
        None,
        description="package whose embeddings the words start with, their first `embedding` channels (wordllama has 256); "
        "null: random numbers",
    )


def fingerprint(config: TokenConfig) -> str | None:
    """Return a hash of the embeddings that words start with; None for random ones."""
    return None if config.pretrained is None else static.digest_of(config.pretrained)


def token_input(
    name: str, signature: Signature, *, is_causal: bool = False, separates_documents: bool = False
) -> InputSpec:  # fmt: skip
    """Return the only input, a sequence of tokens, or of words with their characters.

    Raises `InputError` for other examples, for a label sequence that must be causal, unless the network `is_causal`, and for
    rows of several documents, unless it `separates_documents` and has outputs at each token.
    """
    inputs = signature.inputs
    if len(inputs) != 1 or inputs[0].kind != "tokens" or not inputs[0].is_ragged or len(inputs[0].shape) > 2:
        listed = ", ".join(f"{one.kind} {one.shape}" for one in inputs)
        raise InputError(f"model '{name}' takes one sequence of tokens; the data has {listed}.")
    causal = [output.name for output in signature.outputs if output.is_causal]
    if causal and not is_causal:
        raise InputError(
            f"model '{name}' reads later tokens, and the label sequence {', '.join(causal)} must not depend on them. Choose a "
            "causal model, such as causal_transformer or gru."
        )
    has_means = any(output.steps is None for output in signature.outputs)
    if inputs[0].document_start is not None and (has_means or not separates_documents):
        raise InputError(
            f"model '{name}' reads across documents, and the data have several in a row. Set packed: false, or choose "
            "causal_transformer."
        )
    return inputs[0]


def documents(tokens: Tensor, mask: Tensor, start: int) -> Tensor:
    """Return the number of each token's document in its row, int64 `[batch, steps]` from 1, and 0 at padding.

    A document begins at the token `start`; what stands before the first one is a document too.
    """
    return torch.where(mask, (tokens == start).cumsum(dim=1) + 1, 0)


class Embedding(nn.Module):
    """Embeddings of tokens as features of `width` channels, through a linear layer where they are of another size.

    Where the data spell words, the features of a word's characters are added to its embedding. With a package `pretrained`,
    known words start with its embeddings.
    """

    def __init__(
        self, tokens: InputSpec, embedding: int, width: int, dropout: float, pretrained: static.Package | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        is_spelled = len(tokens.shape) > 1
        num_words = sum(character_of(name) is None for name in tokens.names) if is_spelled else len(tokens.names)
        self.table = nn.Embedding(num_words, embedding)
        nn.init.normal_(self.table.weight, std=embedding**-0.5)
        if pretrained is not None:
            _start_from(pretrained, self.table.weight, tokens.names[:num_words])
        self.spelling = Spelling(num_words, len(tokens.names) - num_words, embedding) if is_spelled else None
        self.widen = nn.Identity() if embedding == width else keep_width(nn.Linear(embedding, width, bias=False))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return `[batch, steps, width]`, 0 at padding, from tokens `[batch, steps]` or `[batch, steps, 1 + characters]`."""
        words = tokens if self.spelling is None else tokens[..., 0]
        features = self.table(words.where(mask, 0))
        if self.spelling is not None:
            features = features + self.spelling(tokens[..., 1:].where(mask.unsqueeze(-1), 0))
        features = self.dropout(self.widen(features))
        return torch.where(mask.unsqueeze(-1), features, 0)


def _start_from(package: static.Package, weight: Tensor, words: Sequence[str]) -> None:
    """Write the embeddings of known words into `weight`, unless a file's weights replace it; on the meta device check only."""
    if initial_weights.are_replaced():
        return
    if weight.is_meta:
        static.check_width(package, weight.shape[1])
        return
    found = static.embeddings_of(package, words, weight.shape[1]).to(weight.device)
    with torch.no_grad():
        weight.copy_(torch.where(found.isnan(), weight, found))


class Spelling(nn.Module):
    """Features of words from their characters: a convolution over embeddings of three, and the maximum (Kim et al., 2016).

    Characters are the last `num_characters` tokens of the vocabulary, behind `first` words; the first of them is none.
    """

    channels = 32

    def __init__(self, first: int, num_characters: int, width: int) -> None:
        super().__init__()
        self.first = first
        self.table = nn.Embedding(num_characters + 1, self.channels)  # and the unknown character, token 0 of the vocabulary
        self.convolution = keep_width(nn.Conv2d(self.channels, width, (1, 3), padding=(0, 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `[batch, steps, width]` from the tokens of characters `[batch, steps, characters]`."""
        places = (tokens - self.first + 1).clamp(min=0)
        is_real = (places != 1).unsqueeze(-1)
        embedded = torch.where(is_real, self.table(places), 0)
        features: Tensor = self.convolution(embedded.permute(0, 3, 1, 2))  # [batch, width, steps, characters]
        return torch.relu(features).amax(dim=3).transpose(1, 2)


class TiedHead(nn.Module):
    """The logits of the tokens in a vocabulary, by the table of their embeddings (Press and Wolf, 2017)."""

    def __init__(self, name: str, table: nn.Embedding, width: int) -> None:
        super().__init__()
        self.name, self.table = name, table
        size = table.embedding_dim
        self.narrow = nn.Identity() if size == width else keep_width(nn.Linear(width, size, bias=False))
        self.bias = nn.Parameter(torch.zeros(table.num_embeddings))

    def forward(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the logits `[batch, steps, tokens]` of features `[batch, steps, width]`, by the name of the label sequence."""
        return {self.name: functional.linear(self.narrow(features), self.table.weight, self.bias)}


def tied_head(model: str, stem: Embedding, width: int, signature: Signature) -> TiedHead:
    """Return a head that shares the embeddings of `stem`. Raises `InputError` for other outputs than the stem's tokens."""
    (output, *others), tokens = signature.outputs, signature.inputs[0]
    if others or output.names != tokens.names or not output.steps:
        listed = ", ".join(one.name for one in signature.outputs)
        raise InputError(
            f"model '{model}': tied weights need one label sequence whose classes are the vocabulary of '{tokens.name}'; the "
            f"task has {listed}. Set tied: false."
        )
    return TiedHead(output.name, stem.table, width)


class TokenNetwork(nn.Module):
    """A stem for tokens, stages named `stage1`, `stage2`, … that take features and the mask, a layer norm, and the heads.

    Without the norm (`is_normed`), channels of the last stage can be removed: what they were does not change the others. With
    a `document_start`, the stages take the tokens' documents in place of the mask.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], width: int, signature: Signature, head: nn.Module | None = None,
        *, is_normed: bool = True, document_start: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem, self.depth, self.document_start = stem, len(stages), document_start
        for number, stage in enumerate(stages, start=1):
            self.add_module(f"stage{number}", stage)
        self.norm = nn.LayerNorm(width) if is_normed else nn.Identity()
        self.head = head or heads(width, signature)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the logits of every label sequence of tokens `[batch, steps]`."""
        features = self.stem(tokens, mask)
        seen = mask if self.document_start is None else documents(tokens, mask, self.document_start)
        for number in range(1, self.depth + 1):
            features = self.get_submodule(f"stage{number}")(features, seen)
        features = self.norm(features)
        return self.head(features, mask) if isinstance(self.head, TiedHead) else over_steps(self.head, features, mask)
