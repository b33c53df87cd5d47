"""Images of lines of text: grey levels of one height, stored column by column, and the text of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from tutelage.data import UNKNOWN, Examples, Field, ragged

MIDDLE = 127.5  # of the grey levels from 0 to 255, which become -1 to 1


def line_examples(
    images: Sequence[np.ndarray], texts: Sequence[str | None], characters: Sequence[str], notes: tuple[str, ...]
) -> Examples:
    """Return examples of lines: ragged `columns` `[columns, 1, height]` and ragged `text`, indices in `characters`.

    Images are uint8 `[height, columns]`. A line whose text is None is unlabelled.
    """
    index = {character: number for number, character in enumerate(characters)}
    columns = [torch.from_numpy(np.ascontiguousarray(image.T)).unsqueeze(1) for image in images]
    labels = [[UNKNOWN] if text is None else [index[one] for one in text] for text in texts]
    return Examples(
        inputs={"columns": Field(values=ragged(columns), kind="frames", mean=(MIDDLE,), std=(MIDDLE,))},
        targets={"text": Field(values=ragged([torch.tensor(one) for one in labels]), kind="class", names=tuple(characters))},
        notes=notes,
    )


def steps_needed(text: Sequence[object]) -> int:
    """Return the least number of steps at which a network can output these characters by CTC.

    A character needs a step, and a blank stands between two equal ones.
    """
    return len(text) + sum(one == other for one, other in pairwise(text))


def note_on_lines(split: str, images: Sequence[np.ndarray], texts: Sequence[str | None], characters: Sequence[str]) -> str:
    """Return a sentence on the lines of a split."""
    widths = [image.shape[1] for image in images]
    lengths = [len(text) for text in texts if text is not None]
    unlabelled = f", {len(texts) - len(lengths):,} without a text" if len(lengths) < len(texts) else ""
    return (
        f"{split}: {len(images):,} lines of {min(widths)} to {max(widths)} columns and "
        f"{min(lengths, default=0)} to {max(lengths, default=0)} characters, of {len(characters)} different ones{unlabelled}"
    )
