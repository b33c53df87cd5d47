"""CTC against an enumeration of all paths; the error rate against another way to count edits; lines are read greedily."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import groupby, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage import plugins
from tutelage.data import UNKNOWN, Batch, Examples, Field, ragged
from tutelage.data._lines import steps_needed
from tutelage.errors import InputError
from tutelage.measures.character_error_rate import edits_per_character
from tutelage.tasks import LabelSequence, Sequences, signature
from tutelage.tasks._ctc import best_path, ctc_loss, edit_distance
from tutelage.tasks.ocr import Ocr

LABELS = ["text"]
CHARACTERS = ("a", "b", "c")
TEXTS = ([0], [0, 1], [1, 1], [2, 0, 1], [0, 1, 2, 2])
WIDTHS = (2, 3, 4, 5, 9)


def example(texts: tuple[list[int], ...] = TEXTS * 8, widths: tuple[int, ...] = WIDTHS * 8) -> Examples:
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randint(0, 256, (width, 1, 4), dtype=torch.uint8, generator=generator) for width in widths]
    return Examples(
        inputs={"columns": Field(values=ragged(columns), kind="frames", mean=(127.5,), std=(127.5,))},
        targets={"text": Field(values=ragged([torch.tensor(text) for text in texts]), kind="class", names=CHARACTERS)},
    )


def perfect(examples: Examples, batch: Batch) -> Sequences:
    """Return logits whose best path is the text, with a blank between equal characters and blanks at the end."""
    mask = batch.masks["columns"]
    logits = torch.zeros(*mask.shape, 1 + len(CHARACTERS), dtype=torch.double)
    for row, text in enumerate(batch.targets["text"]):
        path: list[int] = []
        for one in text[text >= 0].tolist():
            path += [0, one + 1] if path and path[-1] == one + 1 else [one + 1]
        path += [0] * (mask.shape[1] - len(path))
        logits[row, torch.arange(mask.shape[1]), torch.tensor(path[: mask.shape[1]])] = 30.0
    return {"characters": LabelSequence(logits=logits, mask=mask)}


def read_as(path: tuple[int, ...]) -> list[int]:
    return [one - 1 for one, _ in groupby(path) if one != 0]


@given(
    steps=st.integers(1, 5), text=st.lists(st.integers(0, 1), min_size=1, max_size=3), seed=st.integers(0, 99),
    more=st.integers(0, 3),
)  # fmt: skip
def test_the_loss_is_that_of_all_paths_of_the_string(steps: int, text: list[int], seed: int, more: int) -> None:
    logits = torch.randn(1, steps + more, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    logits[:, steps:] = float("nan")
    probabilities = logits[0, :steps].softmax(dim=-1)
    total = sum(
        math.prod(float(probabilities[step, one]) for step, one in enumerate(path))
        for path in product(range(3), repeat=steps)
        if read_as(path) == text
    )
    sequence = LabelSequence(logits=logits, mask=torch.arange(steps + more).unsqueeze(0) < steps)
    found = float(ctc_loss(sequence, torch.tensor([[*text, UNKNOWN]])))
    assert (steps_needed(text) <= steps) == (total > 0), "steps_needed is the least number that has a path"
    assert found == (pytest.approx(-math.log(total) / steps) if total else math.inf)


@given(seed=st.integers(0, 99))
def test_the_gradient_of_the_loss_is_its_slope(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 3, generator=generator, dtype=torch.double, requires_grad=True)
    mask, text = torch.tensor([[True] * 4, [True, True, False, False]]), torch.tensor([[0, 0], [1, -1]])
    assert torch.autograd.gradcheck(lambda one: ctc_loss(LabelSequence(logits=one, mask=mask), text, 0.1), logits)


def test_smoothing_is_the_cross_entropy_with_equal_probabilities() -> None:
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    sequence, text = LabelSequence(logits=logits), torch.tensor([[2, 1]])
    uniform = -logits.log_softmax(dim=-1).mean()
    torch.testing.assert_close(ctc_loss(sequence, text, 0.3), 0.7 * ctc_loss(sequence, text) + 0.3 * uniform)


@cache
def edits_by_recursion(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        edits_by_recursion(one[1:], other) + 1, edits_by_recursion(one, other[1:]) + 1,
        edits_by_recursion(one[1:], other[1:]) + (one[0] != other[0]),
    )  # fmt: skip


STRINGS = st.lists(st.integers(0, 2), max_size=6)


@given(one=STRINGS, other=STRINGS)
def test_the_edit_distance_is_the_least_of_all_ways_to_edit(one: list[int], other: list[int]) -> None:
    assert edit_distance(one, other) == edits_by_recursion(tuple(one), tuple(other)) == edit_distance(other, one)


def test_the_error_rate_is_that_of_the_whole_set_and_may_exceed_1() -> None:
    assert edits_per_character(np.array([[1.0, 2.0], [0.0, 6.0]])) == 1 / 8
    assert edits_per_character(np.array([[5.0, 2.0]])) == 2.5


def best(*paths: tuple[int, ...]) -> LabelSequence:
    """Return logits whose largest are these classes, padded with a character that is masked."""
    longest = max(map(len, paths))
    rows = torch.tensor([[*path, *[1] * (longest - len(path))] for path in paths])
    return LabelSequence(logits=torch.eye(4)[rows], mask=torch.arange(longest) < torch.tensor([[len(one)] for one in paths]))


def test_the_best_path_is_read_without_runs_blanks_and_padding() -> None:
    assert best_path(best((0, 1, 1, 0, 1, 2), (3,), (0, 0))) == [[0, 0, 1], [2], []]
    assert best_path(LabelSequence(logits=torch.zeros(1, 2, 4))) == [[]], "of equal logits the first counts: the blank"


def test_a_line_counts_its_edits_and_matches_without_any() -> None:
    batch = example(([0, 1], [1, 1], [2]), (4, 4, 4)).take(slice(None))
    found = Ocr().evaluate({"characters": best((1, 2, 0, 0), (2, 2, 0, 0), (1, 2, 3, 0))}, batch)
    assert found["character_error_rate"].tolist() == [[0, 2], [1, 2], [2, 1]]
    assert found["exact_match"].flatten().tolist() == [1, 0, 0]
    assert Ocr().decode({"characters": best((1, 2, 0, 0), (2, 2, 0, 0), (1, 2, 3, 0))}, batch) == [[0, 1], [1], [0, 1, 2]]


@pytest.mark.parametrize(("steps", "real"), [(9, [9, 2]), (5, [5, 1]), (3, [3, 1]), (2, [2, 1])])
def test_steps_are_masked_at_the_stride_of_the_network(steps: int, real: list[int]) -> None:
    batch = example(([0], [1]), (9, 2)).take(slice(None))
    sequences = Ocr().forward(lambda columns, mask: torch.zeros(2, steps, 4), batch)  # type: ignore[arg-type]
    mask = sequences["characters"].mask
    assert mask is not None and mask.sum(dim=1).tolist() == real


def test_steps_at_no_stride_are_an_error() -> None:
    batch = example(([0], [1]), (9, 2)).take(slice(None))
    with pytest.raises(InputError, match="4 steps for 9 positions"):
        Ocr().forward(lambda columns, mask: torch.zeros(2, 4, 4), batch)  # type: ignore[arg-type]


def test_training_lines_of_more_characters_than_steps_are_an_error() -> None:
    examples = example()  # a typical line has 4 columns; "bb" needs 3 steps, as does "cab" with 5 columns
    Ocr().check_steps({"characters": 4}, examples)
    Ocr().check_steps({"characters": 3}, example(([0, 0],) * 8, (3,) * 8))  # exactly as many as it needs
    with pytest.raises(InputError, match=r"of 40 .* at a stride of 2 columns. '.*' has 3 columns, so 2 steps, and needs 3"):
        Ocr().check_steps({"characters": 2}, example(([0, 0], [0, 0], [0], [0, 1, 0], [0, 1, 0]) * 8, (9, 3, 4, 4, 4) * 8))


def test_the_baseline_guesses_the_commonest_character_in_the_median_length() -> None:
    train, validation = example(([0, 1], [0, 2], [0, 0, 0]), (9, 9, 9)), example(([0, 1, 0], [2]), (9, 9))
    assert Ocr().baseline(train, validation) == (1 + 2) / 4, "'aa' for 'aba' and for 'c'"


def test_outputs_are_the_blank_and_the_characters_over_the_columns() -> None:
    (output,) = signature(Ocr(), example()).outputs
    assert (output.name, output.names, output.steps) == ("characters", ("<blank>", *CHARACTERS), "columns")
    _, plugin, config = plugins.configure("data", "digits")
    with pytest.raises(InputError, match="the data lack an input with a position for each column"):
        Ocr().outputs(plugin.read(config, 0, "test"))
    with pytest.raises(InputError, match="the data lack the target 'text'"):
        Ocr().outputs(replace(example(), targets={}))


def test_a_reading_of_nothing_is_marked_where_it_can_be_seen() -> None:
    one = example(([0, 1],), (9,))
    blank = torch.nn.functional.one_hot(torch.zeros(1, 9, dtype=torch.long), 1 + len(CHARACTERS)).double()
    shown = Ocr().show(one, {"student": {"characters": LabelSequence(logits=blank)}})
    assert "<td>ab</td>" in shown and "<td><mark>&#x27;&#x27;</mark></td>" in shown
