"""Distillation losses: how far a student is from what its teacher knows. One file a loss.

`build(config, temperature)` returns a function of (student, teacher) label sequences `[batch, steps, classes]` that gives
a scalar. A loss never knows the task.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
