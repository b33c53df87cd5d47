"""Examples of like length side by side, so that batches hold little padding."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.data import Examples

POOL = 16  # batches whose examples are sorted by length together, in a random order of training


def by_length(examples: Examples, rows: Tensor) -> Tensor:
    """Return `rows` sorted by the length of their first ragged input, ties in their order; as they are without one."""
    lengths = examples.lengths
    return rows if lengths is None else rows[lengths.to(rows.device)[rows].argsort(stable=True)]


def bucketed(examples: Examples, order: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Return the batches of a random `order` of rows; of ragged examples each holds ones of like length.

    Pools of 16 batches are sorted by length and cut, and the batches of all pools are shuffled: an example's batch is still
    drawn anew every epoch. Dense examples keep their order. The last, short batch is left out.
    """
    order = order[: len(order) // batch_size * batch_size]
    if examples.lengths is None:
        return list(order.split(batch_size))
    pools = [by_length(examples, pool) for pool in order.split(batch_size * POOL)]
    batches = [batch for pool in pools for batch in pool.split(batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
