"""A split halved by a seed: a half that decides, and a half that certifies what was decided."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tutelage.data._examples import Examples

_STREAM = 18  # keeps the halves' random numbers apart from those that drew the split by the same seed


def halves(examples: Examples, seed: int) -> tuple[Tensor, Tensor]:
    """Return the sorted row numbers of the decision half and of the certification half; they are disjoint, and all rows.

    Where each example has one class, the halves are stratified: they differ by at most one example, in all and of each class.
    Of an odd number the decision half has one more. Of several targets with classes the first counts.
    """
    generator = np.random.default_rng([_STREAM, seed])
    order = np.lexsort((generator.permutation(len(examples)), _classes(examples)))
    first, second = np.sort(order[0::2]), np.sort(order[1::2])
    return torch.from_numpy(first), torch.from_numpy(second)


def _classes(examples: Examples) -> np.ndarray:
    """Return the class `[n]` of each example; zeros where examples have no one class."""
    for target in examples.targets.values():
        if target.kind == "class" and isinstance(target.values, Tensor) and target.values.ndim == 1:
            found: np.ndarray = target.values.cpu().numpy()
            return found
    return np.zeros(len(examples), dtype=np.int64)
