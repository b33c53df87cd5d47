"""The pieces into which a tokenizer splits the words, or characters, of our examples, and the share of each in a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.signature import NO_CHARACTER, UNKNOWN_TOKEN, InputSpec, character_of

_BEFORE = "a "  # a word is split as it is within a sentence: behind another one
NOT_EXPORTED = (
    "model 'huggingface': it splits unknown words by its tokenizer, which no exported program has. As a student, read the data "
    "without 'characters'; as a teacher, it needs no export."
)
NONE, SPECIAL = -1, -1  # in tables of pieces: no piece; in tables of words: a piece that is of none


class Pieces(NamedTuple):
    """The pieces of a batch of texts, `[batch, pieces]`: their indices, which are real, and the position of the word of each.

    A piece that is of no word, such as the first one of BERT, has the position -1.
    """

    indices: Tensor
    mask: Tensor
    words: Tensor


class Splitter(nn.Module):
    """Turns tokens of our vocabulary, `[batch, steps]` or spelled ones `[batch, steps, 1 + characters]`, into `Pieces`.

    A known word is split as the tokenizer splits it within a sentence. An unknown word is split by its characters where the
    data spell words; otherwise it is the tokenizer's unknown piece. A vocabulary of single characters is one of characters:
    each is split alone. What the tokenizer has no piece for is its unknown piece too, and so is a word such as [SEP] that
    spells a special piece, because that would end the text. An exported program gives each word the
    positions of the word of most pieces, so that it takes fewer words than the network does.
    """

    def __init__(self, tokenizer: Any, spec: InputSpec, padding: int) -> None:
        super().__init__()
        self.is_spelled = len(spec.shape) > 1
        self._characters = [character_of(name) if self.is_spelled else None for name in spec.names]
        words = [name for name, character in zip(spec.names, self._characters, strict=True) if character is None]
        self._is_text_of_characters = all(len(name) == 1 for name in words)
        self._tokenizer, self._padding = tokenizer, padding
        self._unknown = _unknown_piece(tokenizer)
        self._begin, self._end = _around(tokenizer)
        self._special_pieces = {i for i, piece in tokenizer.get_added_tokens_decoder().items() if piece.special}
        self._spelled: dict[tuple[int, ...], list[int]] = {}
        self.split = [[self._unknown] if name == UNKNOWN_TOKEN else self._split(name) for name in words]
        self.register_buffer("table", _table(self.split), persistent=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Pieces:
        """Return the pieces of the texts: first the real ones in their order, then padding."""
        words = tokens[..., 0] if self.is_spelled else tokens
        of_words = self.get_buffer("table")[words.where(mask, 0)]
        if self.is_spelled and not tokens.is_meta:
            of_words = self._with_unknown(of_words, tokens, mask)
        of_words = of_words.where(mask.unsqueeze(-1), NONE)
        count, steps, width = of_words.shape
        places = torch.arange(steps, device=words.device).repeat_interleave(width).expand(count, -1)
        begin, end = (self._special(ids, count, words.device) for ids in (self._begin, self._end))
        indices = torch.cat([begin, of_words.flatten(1), end], dim=1)
        owners = torch.cat([torch.full_like(begin, SPECIAL), places, torch.full_like(end, SPECIAL)], dim=1)
        return _packed(indices, owners, self.num_around + steps, self._padding)

    def num_pieces(self, tokens: Tensor) -> Tensor:
        """Return the number of pieces of each token `[total]` or `[total, 1 + characters]`."""
        counts, words = torch.tensor([len(pieces) for pieces in self.split]), tokens[:, 0] if self.is_spelled else tokens
        found = counts[words.long()]
        if self.is_spelled and (unknown := words == 0).any():
            rows, places = tokens[unknown][:, 1:].unique(dim=0, return_inverse=True)
            found[unknown] = torch.tensor([len(self._of_characters(tuple(row))) for row in rows.tolist()])[places]
        return found

    @property
    def num_around(self) -> int:
        """The number of special pieces before and behind a text."""
        return len(self._begin) + len(self._end)

    @staticmethod
    def _special(ids: Sequence[int], count: int, device: torch.device) -> Tensor:
        return torch.tensor(ids, dtype=torch.int64, device=device).expand(count, -1)

    def _with_unknown(self, of_words: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the pieces of words `[batch, steps, width]` with those of unknown words by their characters."""
        if torch.compiler.is_exporting():
            raise InputError(NOT_EXPORTED)
        unknown = (tokens[..., 0] == 0) & mask
        rows = tokens[unknown][:, 1:].tolist()
        split = [self._of_characters(tuple(row)) for row in rows]
        longest = max([of_words.shape[-1], *map(len, split)])
        wider = of_words.new_full((*of_words.shape[:-1], longest), NONE)
        wider[..., : of_words.shape[-1]] = of_words
        if split:
            wider[unknown] = _table(split, longest).to(of_words.device)
        return wider

    def _of_characters(self, row: tuple[int, ...]) -> list[int]:
        if row not in self._spelled:
            letters = (self._characters[one] for one in row)
            word = "".join("\N{REPLACEMENT CHARACTER}" if one is None else one for one in letters if one != NO_CHARACTER)
            self._spelled[row] = self._split(word) if word else [self._unknown]
        return self._spelled[row]

    def _split(self, word: str) -> list[int]:
        """Return the pieces of a word within a sentence, or of a character; the unknown piece for what has none."""
        before = "" if self._is_text_of_characters else _BEFORE
        found = self._tokenizer.encode(before + word, add_special_tokens=False)
        pieces = [i for i, (_, end) in zip(found.ids, found.offsets, strict=True) if end > len(before)]
        return [self._unknown if one in self._special_pieces else one for one in pieces] or [self._unknown]


def _packed(indices: Tensor, owners: Tensor, least: int, padding: int) -> Pieces:
    """Return the pieces with the real ones first, then `padding` up to the longest text, on the meta device `least` pieces."""
    is_real = indices != NONE
    order = (~is_real).to(torch.int8).argsort(dim=1, stable=True)
    if indices.is_meta:
        order = order[:, :least]
    elif not torch.compiler.is_exporting():
        order = order[:, : max(1, int(is_real.sum(dim=1).max()))]
    mask = is_real.gather(1, order)
    return Pieces(indices.gather(1, order).where(mask, padding), mask, owners.gather(1, order).where(mask, SPECIAL))


def word_shares(pieces: Pieces, steps: int, dtype: torch.dtype, *, is_mean: bool) -> Tensor:
    """Return the share of each piece in the features of each word, `[batch, steps, pieces]`; 0 everywhere at padding.

    The pieces of a word have equal shares (`is_mean`), or its first piece has all.
    """
    places = torch.arange(steps, device=pieces.words.device).view(1, -1, 1)
    shares = (pieces.words.unsqueeze(1) == places).to(dtype)
    if not is_mean:
        shares = shares * (shares.cumsum(dim=2) == 1)
    return shares / shares.sum(dim=2, keepdim=True).clamp(min=1)


def _table(split: Sequence[Sequence[int]], width: int = 0) -> Tensor:
    """Return pieces as a table `[words, longest]`, `NONE` behind the last piece of each."""
    longest = max([width, 1, *map(len, split)])
    return torch.tensor([[*pieces, *[NONE] * (longest - len(pieces))] for pieces in split], dtype=torch.int64)


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special pieces that the tokenizer puts before and behind a text."""
    found = tokenizer.encode("a", add_special_tokens=True)
    inner = [place for place, special in enumerate(found.special_tokens_mask) if not special]
    first, last = (inner[0], inner[-1]) if inner else (len(found.ids), len(found.ids) - 1)
    return found.ids[:first], found.ids[last + 1 :]


def _unknown_piece(tokenizer: Any) -> int:
    """Return the tokenizer's unknown piece; that at the end of texts where it has none, as byte-level ones."""
    names = ("[UNK]", "<unk>", getattr(tokenizer.model, "unk_token", None), "<|endoftext|>", "</s>")
    found = [tokenizer.token_to_id(name) for name in names if name]
    return next((one for one in found if one is not None), 0)
