"""Batches of examples of similar length, which need little padding."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.data import Examples

POOL = 16  # batches of a pool, whose examples are sorted by length together


def by_length(examples: Examples, rows: Tensor) -> Tensor:
    """Return `rows` sorted by the length of their first ragged input (stable); unchanged if all inputs are dense."""
    lengths = examples.lengths
    return rows if lengths is None else rows[lengths.to(rows.device)[rows].argsort(stable=True)]


def bucketed(examples: Examples, order: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Return the batches of a random `order` of rows; batches of ragged examples have similar lengths.

    The order is split into pools of 16 batches. Each pool is sorted by length and split into batches, and the batches of all
    pools are shuffled; so the batch of an example still changes every epoch. Dense examples are not sorted. The last, short
    batch is dropped.
    """
    order = order[: len(order) // batch_size * batch_size]
    if examples.lengths is None:
        return list(order.split(batch_size))
    pools = [by_length(examples, pool) for pool in order.split(batch_size * POOL)]
    batches = [batch for pool in pools for batch in pool.split(batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
