"""Tiny Hugging Face directories with random weights: an encoder of word pieces, and a causal network of characters."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "##b", "##c", "##d", "e", "f", "g", "h")
CHARACTERS = "abcdefgh \n"


@cache
def encoder() -> Path:
    """Return the directory of a BERT of two layers whose tokenizer splits words into pieces of one letter."""
    return write(Path(tempfile.mkdtemp(prefix="hf-encoder-")))


def write(directory: Path, kind: str = "BertModel", pieces: tuple[str, ...] = PIECES, **settings: Any) -> Path:
    """Write a directory with a network of a class of transformers' BERT or RoBERTa, and return it."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    config = getattr(transformers, f"{kind.partition('Model')[0].partition('For')[0]}Config")(
        vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, pad_token_id=0, **settings,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, kind)(config).save_pretrained(directory)
    table = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(table, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = ((name, table[name]) for name in ("[SEP]", "[CLS]"))
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def causal(directory: Path, characters: str = CHARACTERS) -> Path:
    """Write a directory with a GPT-2 of two layers whose pieces are single characters, and return it."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    config = transformers.GPT2Config(
        vocab_size=len(characters) + 1, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(config).save_pretrained(directory)
    table = {piece: number for number, piece in enumerate(("<unk>", *characters))}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory
