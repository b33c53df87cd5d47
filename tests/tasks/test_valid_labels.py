"""The best valid sequence of labels is that of a search through all sequences, with any padding."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from tutelage.errors import InputError
from tutelage.tasks._valid_labels import best_joint, best_valid, check_begins

NAMES = ("O", "B-a", "I-a", "B-b", "I-b", "E-b")


def invalid(labels: tuple[int, ...]) -> int:
    """Return the number of labels inside of a slot that no label of the same slot precedes."""
    words = ["O", *(NAMES[label] for label in labels)]
    return sum(own[0] in "IE" and not (before[0] in "BI" and before[1:] == own[1:]) for before, own in pairwise(words))


def searched(logits: torch.Tensor) -> list[int]:
    sequences = list(product(range(len(NAMES)), repeat=len(logits)))
    valid = [one for one in sequences if not invalid(one)]
    return list(max(valid, key=lambda one: sum(float(logits[step, label]) for step, label in enumerate(one))))


@pytest.mark.parametrize("filling", [0.0, float("nan"), float("inf")])
def test_the_best_valid_sequence_is_found_with_any_padding(filling: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(30, 4, len(NAMES), generator=generator)
    lengths = torch.randint(1, 5, (30,), generator=generator)
    mask = torch.arange(4) < lengths.unsqueeze(1)
    found = best_valid(logits.where(mask.unsqueeze(-1), filling), mask, NAMES)
    for row, length in enumerate(lengths.tolist()):
        assert found[row, :length].tolist() == searched(logits[row, :length])
    assert (best_valid(logits[:, :1], None, NAMES)[:, 0] == found[:, 0])[lengths == 1].all()


def test_labels_of_which_no_sequence_is_valid_have_one_all_the_same() -> None:
    assert best_valid(torch.tensor([[[0.0, 2.0], [1.0, 0.0]]]), None, ("I-a", "I-b")).tolist() == [[1, 1]]


def test_types_that_never_begin_are_an_error() -> None:
    check_begins(NAMES, "task")
    with pytest.raises(
        InputError, match=r"task gives I- and E- only behind B- .* has I-c, E-d without B-.* set decode: largest"
    ):
        check_begins((*NAMES, "I-c", "E-d", "S-e"), "task")


@pytest.mark.parametrize("filling", [0.0, float("nan"), float("inf")])
def test_the_best_sequence_and_intent_together_are_found_with_any_padding(filling: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, intents = torch.randn(20, 3, len(NAMES), generator=generator), torch.randn(20, 2, generator=generator)
    seen_with = torch.tensor([[True, True, True, False, False, False], [True, False, False, True, True, True]])
    lengths = torch.randint(1, 4, (20,), generator=generator)
    mask = torch.arange(3) < lengths.unsqueeze(1)
    labels, found = best_joint(logits.where(mask.unsqueeze(-1), filling), intents, mask, NAMES, seen_with)
    for row, length in enumerate(lengths.tolist()):
        logs, log_intents = logits[row, :length].log_softmax(-1), intents[row].log_softmax(-1)
        sequences = [one for one in product(range(len(NAMES)), repeat=length) if not invalid(one)]
        pairs = [(one, intent) for one in sequences for intent in (0, 1) if all(seen_with[intent, label] for label in one)]
        best = max(
            pairs,
            key=lambda pair: float(log_intents[pair[1]]) + sum(float(logs[at, label]) for at, label in enumerate(pair[0])),
        )
        assert (tuple(labels[row, :length].tolist()), int(found[row])) == best
