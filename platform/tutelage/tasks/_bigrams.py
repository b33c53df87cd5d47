"""Counts of token pairs: the simple model that a language model must exceed."""

from __future__ import annotations

import torch
from torch import Tensor

MIXED = 1.0  # occurrences that the distribution of all tokens counts as, in that of the tokens behind one


def bigram_nats(pairs: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor], num_tokens: int) -> Tensor:
    """Return -log p(next | token) in nats `[n]` for the pairs `others`, from the counts of the pairs of training.

    Both are int64 tokens and next tokens. p is (count of the pair + p(next)) / (count of the token + 1), where p(next) is the
    share of the next token with one more occurrence of each: no pair has probability 0.
    """
    token, following = pairs
    codes, counts = torch.unique(token * num_tokens + following, return_counts=True)
    wanted = others[0] * num_tokens + others[1]
    places = torch.searchsorted(codes, wanted).clamp(max=len(codes) - 1)
    of_pair = torch.where(codes[places] == wanted, counts[places], 0).double()
    of_token = torch.bincount(token, minlength=num_tokens)[others[0]].double()
    of_next = torch.bincount(following, minlength=num_tokens).double() + 1
    share = (of_next / of_next.sum())[others[1]]
    return -((of_pair + MIXED * share) / (of_token + MIXED)).log()
