"""The n best strings of CTC outputs are compared by the sums over all of their paths, as an enumeration of paths gives them."""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import plugins
from tutelage.errors import InputError
from tutelage.losses import for_sequences
from tutelage.losses.ctc_n_best import BestStrings, Config, candidates_of, n_best
from tutelage.networks.output import Outline, Output

LEAST_FALL = 2  # strings that the teacher's best ones leave out keep some of the probability
NOT_ZERO_FOR_EQUAL_NETWORKS = "the probability of the strings that are left out is missing"


def enumerated(logits: torch.Tensor, blank: int = 0) -> dict[tuple[int, ...], float]:
    """Return the probability of every string of one example `[steps, classes]`, summed over its paths."""
    found: dict[tuple[int, ...], float] = {}
    probabilities = logits.softmax(dim=1).tolist()
    for path in product(range(logits.shape[1]), repeat=len(logits)):
        string = tuple(one for one, _ in groupby(path) if one != blank)
        found[string] = found.get(string, 0.0) + math.prod(row[one] for row, one in zip(probabilities, path, strict=True))
    return found


def reference(student: torch.Tensor, teacher: torch.Tensor, strings: int, blank: int) -> float:
    """Return the loss of one example by enumeration."""
    own, other = enumerated(student, blank), enumerated(teacher, blank)
    best = sorted(other, key=lambda string: -other[string])[:strings]
    weights = [other[string] / sum(other[one] for one in best) for string in best]
    pairs = zip(weights, best, strict=True)
    return sum(weight * (math.log(weight) - math.log(own[string])) for weight, string in pairs) / len(teacher)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Return logits from -2 to 2, so that no class is improbable enough for the search to leave it out."""
    return 4.0 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double) - 2.0


@settings(max_examples=20)
@given(
    seed=st.integers(0, 999), strings=st.integers(1, 5),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3), blank=st.integers(0, 2),
)  # fmt: skip
def test_the_loss_is_that_of_an_enumeration_of_all_paths(seed: int, strings: int, lengths: list[int], blank: int) -> None:
    student, teacher = drawn(seed, len(lengths), 4, 3), drawn(seed + 1000, len(lengths), 4, 3)
    mask = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    loss = BestStrings(Config(strings=strings, beam=64, blank=blank))
    found = loss(Output(logits=student), Output(logits=teacher, mask=mask))
    expected = [
        reference(own[:length], other[:length], strings, blank)
        for own, other, length in zip(student, teacher, lengths, strict=True)
    ]
    assert found.item() == pytest.approx(sum(expected) / len(lengths), rel=1e-9)


def strings_of(steps: list[list[float]], count: int, beam: int) -> list[tuple[int, ...]]:
    probabilities = torch.tensor([steps], dtype=torch.double)
    (candidates,) = candidates_of(probabilities, torch.ones(1, len(steps), dtype=torch.bool), 0)
    return n_best(candidates, count, beam, 0)


def test_the_search_finds_the_string_of_many_paths_and_not_that_of_the_best_path() -> None:
    assert strings_of([[0.6, 0.4]] * 2, 2, 4) == [(1,), ()], "the best path is two blanks, 0.36; the other string has 0.64"
    assert strings_of([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], 2, 4) == [(1, 1)], "a blank parts two equal characters"
    assert strings_of([[0.1] * 10] * 1000, 1, 2) != [], "the probabilities of long lines do not become 0"


def test_a_student_may_place_its_characters_elsewhere() -> None:
    def path(*classes: int) -> Output:
        return Output(logits=9.0 * torch.eye(3)[torch.tensor([classes])])

    loss = BestStrings(Config())
    early, late, other = (
        loss(path(*classes), path(0, 1, 0, 2, 0)) for classes in ((1, 0, 2, 0, 0), (0, 0, 1, 0, 2), (0, 2, 0, 1, 0))
    )
    assert max(early, late) < 0.01 < other


def test_other_strides_and_a_beam_below_the_strings_are_errors() -> None:
    own, other = (Outline(classes=3, sequences={"characters": 3}, steps={"characters": steps}) for steps in (6, 12))
    _, plugin, config = plugins.configure("losses", "ctc_n_best")
    with pytest.raises(InputError, match=r"gives 6 steps of 'characters' .* its teacher 12"):
        for_sequences(plugin, config, own, other, partial(plugin.build, config, 4.0))
    with pytest.raises(InputError, match="beam is at least strings"):
        plugins.configure("losses", {"ctc_n_best": {"strings": 9}})
