"""Textbook problems whose true front is known, made into students that learn: what samplers and stopping rules are tried on.

The first objectives play the sizes, known before training; the last one plays the error, which nears its true value over the
epochs as a power law (Domhan et al., 2015) whose start and pace depend on the config, so that an early order tells something
and not all; and every evaluation has seeded noise.

ZDT1, ZDT2, ZDT3: Zitzler, Deb and Thiele (2000); DTLZ2: Deb, Thiele, Laumanns and Zitzler (2002). With fewer values than there,
as a student's space has, so that a few hundred suggestions are a search.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.search.recorded_table import Table
from tutelage.spec.domains import Float
from tutelage.spec.space import Space

Array = NDArray[np.float64]
# The parts of ZDT3's front: each ends at a minimum of f2, and the next begins where f2 falls below that minimum.
ZDT3_PARTS = (
    (0.0, 0.0830015349), (0.1822287280, 0.2577623634), (0.4093136748, 0.4538821041), (0.6183967944, 0.6525117038),
    (0.8233317983, 0.8518328654),
)  # fmt: skip


def zdt1(x: Array) -> Array:
    """f1 = x1, f2 = g (1 - sqrt(f1 / g)), g = 1 + 9 mean(x2, ...); the front has g = 1."""
    f1, g = _zdt(x)
    return np.column_stack([f1, g * (1 - np.sqrt(f1 / g))])


def zdt2(x: Array) -> Array:
    """f1 = x1, f2 = g (1 - (f1 / g)^2): a front that is not convex."""
    f1, g = _zdt(x)
    return np.column_stack([f1, g * (1 - (f1 / g) ** 2)])


def zdt3(x: Array) -> Array:
    """f1 = x1, f2 = g (1 - sqrt(f1 / g) - f1 / g sin(10 pi f1)): a front in five parts."""
    f1, g = _zdt(x)
    return np.column_stack([f1, g * (1 - np.sqrt(f1 / g) - f1 / g * np.sin(10 * np.pi * f1))])


def _zdt(x: Array) -> tuple[Array, Array]:
    return x[:, 0], 1 + 9 * x[:, 1:].mean(axis=1)


def dtlz2(x: Array, num_objectives: int) -> Array:
    """The unit sphere's positive part, at 1 + g times its radius; g = sum (x - 0.5)^2 over all but the angles."""
    angles, rest = x[:, : num_objectives - 1] * np.pi / 2, x[:, num_objectives - 1 :]
    radius = 1 + ((rest - 0.5) ** 2).sum(axis=1)
    columns = []
    for k in range(num_objectives):
        column = radius * np.cos(angles[:, : num_objectives - 1 - k]).prod(axis=1)
        columns.append(column * np.sin(angles[:, num_objectives - 1 - k]) if k else column)
    return np.column_stack(columns)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem over `num_values` values in [0, 1], all objectives to be small; `low` and `high` bound the last one.

    `volume` is the hypervolume of the true front up to `reference`, in closed form.
    """

    name: str
    num_values: int
    objectives: Callable[[Array], Array]
    low: float
    high: float
    reference: tuple[float, ...]
    volume: float
    epochs: int = 27
    noise: float = 0.002  # standard deviation of an evaluated error

    @property
    def space(self) -> Space:
        """The values as a spec would have them."""
        return Space({name: Float(low=0.0, high=1.0) for name in self._names})

    @property
    def _names(self) -> list[str]:
        return [f"x{k + 1}" for k in range(self.num_values)]

    def values(self, params: Mapping[str, Any]) -> Array:
        """Return a config's values `[num_values]`."""
        return np.array([params[name] for name in self._names], dtype=float)

    def true(self, x: Array) -> tuple[Array, Array]:
        """Return the known losses `[n, m - 1]` and the true errors `[n]`, between 0 and 1, of values `[n, num_values]`."""
        found = self.objectives(x)
        return found[:, :-1], (found[:, -1] - self.low) / (self.high - self.low)

    def natural(self, known: Array, errors: Array) -> Array:
        """Return points `[n, m]` in the problem's own unit, in which `reference` and `volume` are."""
        return np.column_stack([known, errors * (self.high - self.low) + self.low])

    def curves(self, x: Array, seed: int) -> Array:
        """Return the error after each epoch `[n, epochs]`, as a training with this seed would show it.

        error_t = true + (1 - true) start (t^-pace - E^-pace) / (1 - E^-pace), and noise; start and pace by config.
        """
        _, errors = self.true(x)
        start, pace = 0.5 + 0.2 * _wave(x, 5.0), 0.9 + 0.7 * _wave(x, 11.0)
        t, last = np.arange(1, self.epochs + 1)[None, :], float(self.epochs)
        decay = (t ** -pace[:, None] - last ** -pace[:, None]) / (1 - last ** -pace[:, None])
        noise = np.stack([self._noise(row, seed) for row in x])
        return np.clip(errors[:, None] + (1 - errors)[:, None] * start[:, None] * decay + noise, 0.0, 1.0)

    def _noise(self, x: Array, seed: int) -> Array:
        key = hashlib.sha256(x.tobytes() + seed.to_bytes(8, "little")).digest()
        return np.random.default_rng(int.from_bytes(key, "little")).normal(0, self.noise, self.epochs)

    def tabulate(self, num_configs: int, seed: int) -> Table:
        """Return the table of random configs, each trained once with the same seed; an epoch takes a second."""
        x = np.random.default_rng(seed).random((num_configs, self.num_values))
        known, _ = self.true(x)
        return Table(
            known=known, whole=known, traits=x, errors=self.curves(x, seed)[:, None], epoch_s=np.ones(num_configs)
        )  # fmt: skip


def _wave(x: Array, pitch: float) -> Array:
    """Return a number between -1 and 1 by config: smooth, so that neighbours learn alike, and in no order of the objectives."""
    return np.sin(pitch * x @ (1 + np.arange(x.shape[1]) / math.pi))


def _zdt3_volume(reference: tuple[float, float]) -> float:
    """Integrate the reference's height over f2: along each part, and from its end's value on to the next part's begin."""

    def f2(f: float) -> float:
        return 1 - math.sqrt(f) - f * math.sin(10 * math.pi * f)

    def integral(f: float) -> float:
        w = 10 * math.pi
        return f - 2 / 3 * f * math.sqrt(f) - (math.sin(w * f) / w**2 - f * math.cos(w * f) / w)

    begins = [begin for begin, _ in ZDT3_PARTS[1:]] + [reference[0]]
    total = 0.0
    for (begin, end), following in zip(ZDT3_PARTS, begins, strict=True):
        total += reference[1] * (end - begin) - (integral(end) - integral(begin))
        total += (following - end) * (reference[1] - f2(end))
    return total


def _problems() -> dict[str, Problem]:
    wide, unit = (1.1, 3.0), (1.1, 1.1)
    return {
        problem.name: problem
        for problem in (
            Problem(name="zdt1", num_values=6, objectives=zdt1, low=0, high=10, reference=wide, volume=1.1 * 3 - 1 / 3),
            Problem(name="zdt2", num_values=6, objectives=zdt2, low=0, high=10, reference=wide, volume=1.1 * 3 - 2 / 3),
            Problem(name="zdt3", num_values=6, objectives=zdt3, low=-1, high=11, reference=wide, volume=_zdt3_volume(wide)),
            Problem(
                name="dtlz2", num_values=6, objectives=lambda x: dtlz2(x, 2), low=0, high=2.25, reference=unit,
                volume=1.1**2 - math.pi / 4,
            ),
            Problem(
                name="dtlz2-3", num_values=7, objectives=lambda x: dtlz2(x, 3), low=0, high=2.25, reference=(*unit, 1.1),
                volume=1.1**3 - math.pi / 6,
            ),
        )
    }  # fmt: skip


PROBLEMS = _problems()
