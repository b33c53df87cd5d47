"""The expected improvement of a front by a student whose sizes are known and whose final error is predicted. Pure arrays.

An end is the final loss of the primary measure on its even scale (for a share, the logarithm of its error), lower is better. A
student whose end is `worst` or above (0 for a share) improves no front.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from tutelage.search.gaussian_process import Array

NODES = 512  # sizes at which a front is evaluated: a power of two, as Sobol's sequence requires


def expected_improvement(best: Array, mean: Array, deviation: Array) -> Array:
    """Return E[max(0, best - end)] for ends that are normal with `mean` and `deviation` (Jones et al., 1998), each [n]."""
    spread = np.maximum(deviation, 1e-12)
    z = (best - mean) / spread
    found: Array = spread * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
    return found


def best_no_larger(queried: Array, known: Array, ends: Array, worst: float = 0.0) -> Array:
    """Return for each `queried` [m, k] the least of `ends` [n] whose `known` losses [n, k] are no larger, at most `worst`."""
    no_larger = (known[None] <= queried[:, None]).all(axis=2)
    best: Array = np.where(no_larger, ends[None], worst).min(axis=1, initial=worst)
    return best


class Gain:
    """The expected growth of a front's hypervolume up to `reference` [k + 1] by one more student (Emmerich et al., 2006).

    Sizes are known, so only one coordinate is uncertain. The growth is the expected improvement over the front at each size
    from the student's own up to the reference, integrated. The integral is a mean over `NODES` sizes between `lowest` [k] and
    the reference: evenly spaced for one size, Sobol's sequence for several. The front is of students with `known` [n, k] and
    `ends` [n].
    """

    def __init__(self, known: Array, ends: Array, *, lowest: Array, reference: Array, worst: float = 0.0) -> None:
        self._nodes = lowest + _evenly(known.shape[1]) * (reference[:-1] - lowest)
        self._best = np.minimum(best_no_larger(self._nodes, known, ends, worst), reference[-1])

    def of(self, known: Array, mean: Array, deviation: Array) -> Array:
        """Return the gain [m], over the box's sizes, of students with `known` [m, k] and ends of `mean` and `deviation` [m]."""
        adds = (known[:, None] <= self._nodes[None]).all(axis=2)
        improved = expected_improvement(self._best[None], mean[:, None], deviation[:, None])
        found: Array = (improved * adds).mean(axis=1)
        return found


def _evenly(num_sizes: int) -> Array:
    """Return points of the unit cube [nodes, num_sizes]; a single empty point if there are no sizes."""
    if num_sizes == 0:
        return np.empty((1, 0))
    if num_sizes == 1:
        return (np.arange(NODES)[:, None] + 0.5) / NODES
    from scipy.stats import qmc  # a third of a second, for searches with several sizes only

    found: Array = qmc.Sobol(num_sizes, seed=0).random(NODES)
    return found
