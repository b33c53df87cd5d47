"""Sequence-level distillation of CTC outputs by the teacher's n best strings (Takashima, Li and Kawai, 2019)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from tutelage.losses import Loss
from tutelage.losses._vectors import precise
from tutelage.networks.output import Need, Outline, Output
from tutelage.plugins import PluginConfig

SPACE: dict[str, dict[str, object]] = {"strings": {"int": [1, 8]}}
NEEDS: frozenset[Need] = frozenset({"logits"})
_LEAST = 1e-3  # probability of a class at a step below which the search for strings leaves it out

String = tuple[int, ...]
Candidate = tuple[int, float]


class Config(PluginConfig):
    """How many strings of the teacher are compared, and how they are searched for."""

    strings: int = Field(4, ge=1, le=64, description="most probable strings of the teacher; 1: its best string alone")
    beam: int = Field(8, ge=1, le=256, description="beginnings of strings that the search keeps at each step")
    blank: int = Field(0, ge=0, description="index of the blank class; task ocr has it first")

    @model_validator(mode="after")
    def _keeps_enough(self) -> Config:
        if self.beam < self.strings:
            raise ValueError("beam is at least strings.")
        return self


class BestStrings(nn.Module):
    """Σ_y w(y) · (ln w(y) - ln P_s(y)) in nats a step, over the n best strings y of the teacher; the mean over the examples.

    P(y) is the sum over all paths that mean y (Graves et al., 2006). w(y) is P_t(y), normalised over the n strings. The loss of
    Takashima et al. differs by the constant Σ w ln w and is not divided by the number of steps. It does not depend on where in
    the path a character stands, so a student may place its characters elsewhere than its teacher. The temperature of the
    distillation does not change it: among a few strings it would give wrong ones nearly the weight of the best one. A prefix
    beam search (Hannun et al., 2014) finds the strings.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, student: Output, teacher: Output) -> Tensor:
        """Return the loss, a scalar."""
        mask, shape = teacher.mask, teacher.logits.shape[:2]
        real = torch.ones(shape, dtype=torch.bool, device=teacher.logits.device) if mask is None else mask
        own, other = (log_probabilities(output.logits, real) for output in (student, teacher))
        steps = real.sum(dim=1)
        candidates = candidates_of(other.exp(), real, self.config.blank)
        found = [n_best(row, self.config.strings, self.config.beam, self.config.blank) for row in candidates]
        rows = torch.tensor([row for row, strings in enumerate(found) for _ in strings], device=real.device)
        places = torch.tensor([place for strings in found for place in range(len(strings))], device=real.device)
        strings = [string for strings in found for string in strings]
        of_student, of_teacher = (
            string_log_probabilities(one, rows, steps, strings, self.config.blank) for one in (own, other)
        )
        table = of_teacher.new_full((len(found), self.config.strings), -torch.inf)
        table[rows, places] = of_teacher
        weights = table.log_softmax(dim=1)[rows, places]
        divergence = weights.exp() * (weights - of_student) / steps[rows]
        return divergence.sum() / len(found)


def log_probabilities(logits: Tensor, real: Tensor) -> Tensor:
    """Return the log-probabilities `[batch, steps, classes]`; those of steps that are not `real` are uniform."""
    return precise(logits.where(real.unsqueeze(2), 0.0)).log_softmax(dim=2)


def string_log_probabilities(
    logs: Tensor, rows: Tensor, steps: Tensor, strings: Sequence[String], blank: int
) -> Tensor:  # fmt: skip
    """Return ln P(y) `[n]` of each string in the example `rows` `[n]` of `logs`, summed over all of its paths."""
    lengths = torch.tensor([len(string) for string in strings], device=logs.device)
    longest = max(1, int(lengths.max()))
    texts = torch.tensor([[*string, *[0] * (longest - len(string))] for string in strings], device=logs.device)
    return -functional.ctc_loss(
        logs[rows].transpose(0, 1), texts, steps[rows], lengths, blank=blank, reduction="none"
    )  # fmt: skip


def candidates_of(probabilities: Tensor, real: Tensor, blank: int) -> list[list[list[Candidate]]]:
    """Return (class, probability) of the blank and of the classes that are probable, at each real step of each example."""
    is_probable = probabilities >= _LEAST
    is_probable[..., blank] = True
    places = (is_probable & real.unsqueeze(2)).nonzero()
    found: list[list[list[Candidate]]] = [[[] for _ in range(count)] for count in real.sum(dim=1).tolist()]
    for (row, step, one), p in zip(places.tolist(), probabilities[tuple(places.T)].tolist(), strict=True):
        found[row][step].append((one, p))
    return found


def n_best(steps: Sequence[Sequence[Candidate]], count: int, beam: int, blank: int) -> list[String]:
    """Return at most `count` strings, the most probable first, by a prefix beam search over the candidates of each step.

    A string's probability is kept in two parts: of paths that end in the blank, and of those that end in its last character.
    """
    kept: dict[String, tuple[float, float]] = {(): (1.0, 0.0)}
    for candidates in steps:
        found: defaultdict[String, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for string, (in_blank, in_character) in kept.items():
            both = in_blank + in_character
            for one, p in candidates:
                if one == blank:
                    found[string][0] += both * p
                elif string and string[-1] == one:
                    found[string][1] += in_character * p
                    found[(*string, one)][1] += in_blank * p
                else:
                    found[(*string, one)][1] += both * p
        best = sorted(found.items(), key=lambda item: -sum(item[1]))[:beam]
        scale = sum(best[0][1]) or 1.0  # keeps the numbers of long lines from becoming 0
        kept = {string: (parts[0] / scale, parts[1] / scale) for string, parts in best}
    return [string for string in kept if sum(kept[string]) > 0][:count]


def build(config: Config, temperature: float, student: Outline, teacher: Outline) -> Loss:
    """Return the loss. `losses.for_sequences` refuses networks of other steps than their teacher's."""
    return BestStrings(config)
