"""Shared by the networks that read sentences: the embedding of tokens, and stages that take a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tutelage.errors import InputError
from tutelage.models import heads, keep_width, over_steps
from tutelage.signature import Signature


def vocabulary_size(
    name: str, signature: Signature, *, is_causal: bool = False, separates_documents: bool = False
) -> int:  # fmt: skip
    """Return the number of tokens in the vocabulary.

    Raises `InputError` for other examples than sequences of tokens, for a label sequence that must be causal, unless the
    network `is_causal`, and for rows of several documents, unless it `separates_documents` and has outputs at each token.
    """
    inputs = signature.inputs
    if len(inputs) != 1 or inputs[0].kind != "tokens" or not inputs[0].is_ragged or len(inputs[0].shape) != 1:
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
    return len(inputs[0].names)


def documents(tokens: Tensor, mask: Tensor, start: int) -> Tensor:
    """Return the number of each token's document in its row, int64 `[batch, steps]` from 1, and 0 at padding.

    A document begins at the token `start`; what stands before the first one is a document too.
    """
    return torch.where(mask, (tokens == start).cumsum(dim=1) + 1, 0)


class Embedding(nn.Module):
    """Embeddings of tokens as features of `width` channels, through a linear layer where they are of another size."""

    def __init__(self, num_tokens: int, embedding: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(num_tokens, embedding)
        nn.init.normal_(self.table.weight, std=embedding**-0.5)
        self.widen = nn.Identity() if embedding == width else keep_width(nn.Linear(embedding, width, bias=False))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return `[batch, steps, width]`, 0 at padding."""
        features = self.dropout(self.widen(self.table(tokens.where(mask, 0))))
        return torch.where(mask.unsqueeze(-1), features, 0)


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
