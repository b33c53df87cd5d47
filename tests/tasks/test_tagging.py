"""Slots are counted as conlleval and seqeval count them; padding and unlabelled tokens count for nothing."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

from tutelage import intervals, plugins
from tutelage.data import UNKNOWN, Batch, Examples, Field, ragged
from tutelage.errors import InputError
from tutelage.measures import slot_f1
from tutelage.tasks import LabelSequence, Sequences, signature
from tutelage.tasks._chunks import chunks_of, counts
from tutelage.tasks.tagging import Tagging

SLOTS = ("O", "B-city", "I-city", "B-date", "I-date")
WORDS = ("<unknown>", "to", "new", "york", "on", "monday", "morning")
SENTENCES = [  # the words, the slot labels, the intent
    ([1, 2, 3], [0, 1, 2], 0), ([4, 5], [0, 3], 1), ([1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 3, 4], 0), ([5], [3], 1),
]  # fmt: skip


def example(sentences: list[tuple[list[int], list[int], int]] = SENTENCES * 10, slots: tuple[str, ...] = SLOTS) -> Examples:
    tokens, labels = (ragged([torch.tensor(one[part]) for one in sentences]) for part in (0, 1))
    return Examples(
        inputs={"tokens": Field(values=tokens, kind="tokens", names=WORDS)},
        targets={
            "slots": Field(values=labels, kind="class", names=slots),
            "intent": Field(values=torch.tensor([one[2] for one in sentences]), kind="class", names=("book", "ask")),
        },
    )


def predicted(batch: Batch, slots: list[list[int]], intents: list[int]) -> Sequences:
    """Return logits whose largest are these classes."""
    rows = torch.zeros_like(batch.targets["slots"])
    for row, labels in enumerate(slots):
        rows[row, : len(labels)] = torch.tensor(labels)
    return {
        "slots": LabelSequence(logits=torch.eye(len(SLOTS))[rows], mask=batch.masks["tokens"]),
        "intent": LabelSequence(logits=torch.eye(2)[torch.tensor(intents)].unsqueeze(1)),
    }


def entities(labels: list[str]) -> set[tuple[str, int, int]]:
    """Return the slots (type, first step, step behind the last) that we find in one sentence."""
    names = tuple(sorted(set(labels)))
    found = chunks_of(torch.tensor([[names.index(one) for one in labels]]), torch.ones(1, len(labels), dtype=torch.bool), names)
    starts = found.starts[0].nonzero().flatten().tolist()
    return {(labels[start].partition("-")[2], start, int(found.ends[0, start])) for start in starts}


@given(st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in "BIES" for t in ("x", "y"))]), min_size=1, max_size=9))
def test_the_slots_of_any_sequence_are_those_that_seqeval_finds(labels: list[str]) -> None:
    assert entities(labels) == {(kind, first, last + 1) for kind, first, last in get_entities(labels)}


@pytest.mark.parametrize("seed", range(5))
def test_f1_equals_seqevals_over_many_sentences(seed: int) -> None:
    generator = random.Random(seed)
    names = ("O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in ("city", "from-date", "a")))
    lengths = [generator.randint(1, 12) for _ in range(200)]
    true = [[generator.choice(names) for _ in range(length)] for length in lengths]
    found = [[one if generator.random() < 0.7 else generator.choice(names) for one in row] for row in true]
    one, other = (
        ragged([torch.tensor([names.index(label) for label in row]) for row in rows]).padded(UNKNOWN) for rows in (found, true)
    )
    value = slot_f1.micro_f1(counts(one[0], other[0], other[1], names).numpy())
    assert value == pytest.approx(f1_score(true, found), abs=1e-12)


def test_f1_is_that_of_the_published_example_of_conlleval() -> None:
    """Of the example in seqeval's own documentation (2 true slots, 2 found, 1 right) F1 is 0.5."""
    names = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER")
    true = torch.tensor([[0, 0, 0, 1, 2, 2, 0], [3, 4, 0, 0, 0, 0, 0]])
    found = torch.tensor([[0, 0, 1, 2, 2, 2, 0], [3, 4, 0, 0, 0, 0, 0]])
    real = torch.arange(7) < torch.tensor([[7], [3]])
    assert counts(found, true, real, names).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert slot_f1.micro_f1(counts(found, true, real, names).numpy()) == 0.5


def test_f1_without_any_slot_is_1_and_without_a_right_one_0() -> None:
    assert slot_f1.micro_f1(np.zeros((2, 3))) == 1.0
    assert slot_f1.micro_f1(np.array([[0.0, 1.0, 0.0]])) == 0.0


def test_a_sentence_is_right_only_with_its_intent_and_all_its_slots() -> None:
    batch = example(SENTENCES).take(slice(None))
    slots = [[0, 1, 2], [0, 3], [0, 1, 0, 0, 3, 4], [3]]
    found = Tagging().evaluate(predicted(batch, slots, [0, 0, 0, 1]), batch)
    assert found["slot_f1"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 2, 2], [1, 1, 1]]
    assert found["intent_accuracy"].flatten().tolist() == [1, 0, 1, 1]
    assert found["sentence_accuracy"].flatten().tolist() == [1, 0, 0, 1]


def test_tokens_without_a_label_count_neither_for_nor_against() -> None:
    batch = example(SENTENCES).take(slice(None))
    targets = {**batch.targets, "slots": batch.targets["slots"].clone()}
    targets["slots"][2, 4:] = UNKNOWN
    found = Tagging().evaluate(
        predicted(batch, [[0, 1, 2], [0, 3], [0, 1, 2, 0, 1, 1], [3]], [0, 1, 0, 1]), replace(batch, targets=targets)
    )
    assert found["slot_f1"][2].tolist() == [1, 1, 1] and found["sentence_accuracy"].all()


def test_the_loss_weights_the_two_cross_entropies() -> None:
    batch = example(SENTENCES).take(slice(None))
    flat = {
        "slots": LabelSequence(logits=torch.zeros(4, 6, 5), mask=batch.masks["tokens"]),
        "intent": LabelSequence(logits=torch.zeros(4, 1, 2)),
    }  # fmt: skip
    torch.testing.assert_close(Tagging(0.25).loss(flat, batch), torch.full((4,), 0.25 * math.log(5) + 0.75 * math.log(2)))


def test_predictions_are_classes_of_real_tokens() -> None:
    batch = example(SENTENCES).take(slice(None))
    slots, intents = Tagging().decode(predicted(batch, [one[1] for one in SENTENCES], [0, 1, 0, 1]), batch)
    assert slots == [one[1] for one in SENTENCES] and intents == [0, 1, 0, 1]


def test_the_baseline_gives_every_token_its_commonest_label() -> None:
    train = example([([2, 3], [1, 2], 0), ([2, 6], [0, 0], 0), ([2], [1], 0), ([5], [3], 0)] + [([1, 1, 1], [0, 0, 0], 0)] * 9)
    validation = example([([1, 2, 3], [0, 1, 2], 0), ([5, 6], [3, 4], 1), ([4], [0], 0)])
    assert Tagging().baseline(train, validation) == pytest.approx(2 * 1 / (2 + 2)), "the date ends too early; 4 is unseen: O"


def test_the_baselines_label_of_an_unseen_token_is_the_commonest_of_labelled_ones() -> None:
    """Most words of training are cities; `to` has no label there, and `monday` does not stand there."""
    train = example([([2, 2, 2], [1, 1, 1], 0), ([1, 1], [UNKNOWN, UNKNOWN], 0), ([4], [0], 0)])
    assert Tagging().baseline(train, example([([5, 1], [1, 1], 0)])) == 1.0


def test_the_baselines_label_of_a_rare_token_is_its_own_however_common_another_one_is() -> None:
    train = example([([1] * 10, [0] * 10, 0)] * 300 + [([2], [1], 0)])
    assert Tagging().baseline(train, example([([1, 2], [0, 1], 0)])) == 1.0


def test_a_token_without_a_label_is_shown_by_a_question_mark_and_no_label_for_it_is_wrong() -> None:
    shown = example([([2, 3], [1, UNKNOWN], 0)])
    for first, num_wrong in ((1, 0), (2, 1)):
        page = Tagging().show(shown, {"student": predicted(shown.take(slice(None)), [[first, 2]], [0])})
        assert "<td>?</td>" in page and page.count("<mark>") == num_wrong


def test_the_interval_of_f1_is_a_bootstrap_over_sentences() -> None:
    correct = np.random.default_rng(0).binomial(2, 0.9, 400).astype(float)
    contributions = np.stack([correct, np.full(400, 2.0), np.full(400, 2.0)], axis=1)
    found = intervals.interval(slot_f1.MEASURE, contributions)
    assert found is not None and found[0] < slot_f1.micro_f1(contributions) < found[1]
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * math.sqrt(0.9 * 0.1 / 800), rel=0.2)


def test_outputs_follow_from_the_targets_and_labels_must_be_iob() -> None:
    made = signature(Tagging(), example())
    assert [(one.name, one.num_classes, one.steps) for one in made.outputs] == [("slots", 5, "tokens"), ("intent", 2, None)]
    with pytest.raises(InputError, match="the slot labels 'city', 'X-date', 'I-' are not in the IOB format"):
        Tagging().outputs(example(slots=("O", "city", "B-date", "X-date", "I-")))
    _, plugin, config = plugins.configure("data", "digits")
    with pytest.raises(InputError, match="the data lack the target 'slots', the target 'intent'"):
        Tagging().outputs(plugin.read(config, 0, "test"))


def test_valid_decoding_repairs_labels_for_measures_and_predictions() -> None:
    """The largest logits are O I-city; the valid sequence with the largest sum is B-city I-city."""
    batch = example([([2, 3], [1, 2], 0)]).take(slice(None))
    logits = torch.tensor([[[1.0, 0.9, 0, 0, 0], [0, 0, 2.0, 0, 0]]])
    sequences = {
        "slots": LabelSequence(logits=logits, mask=batch.masks["tokens"]),
        "intent": LabelSequence(logits=torch.eye(2)[:1].unsqueeze(1)),
    }
    assert Tagging().decode(sequences, batch).slots == [[0, 2]]
    task = Tagging(decode="valid")
    assert task.decode(sequences, batch).slots == [[1, 2]]
    assert task.evaluate(sequences, batch)["sentence_accuracy"].item() == 1.0


def test_slots_and_intent_are_decoded_together() -> None:
    """The intent's logits prefer `ask`, with which training has no city; the slot's are surer of the city."""
    examples = example(SENTENCES[:1])
    field = examples.targets["slots"]
    seen_with = {"intent": torch.tensor([[True] * 5, [True, False, False, True, True]])}
    joint = Tagging(decode="joint")
    with pytest.raises(InputError, match="decode: joint needs data that say which slot labels training has for each intent"):
        joint.outputs(examples)
    paired = replace(examples, targets={**examples.targets, "slots": replace(field, seen_with=seen_with)})
    assert [one.name for one in joint.outputs(paired)] == ["slots", "intent"]
    batch = paired.take(slice(None)).to("cpu")
    sequences = {
        "slots": LabelSequence(logits=5 * torch.eye(5)[torch.tensor([[0, 1, 2]])], mask=batch.masks["tokens"]),
        "intent": LabelSequence(logits=torch.tensor([[[0.0, 1.0]]])),
    }
    assert Tagging(decode="valid").decode(sequences, batch) == ([[0, 1, 2]], [1])
    assert joint.decode(sequences, batch) == ([[0, 1, 2]], [0])
    assert joint.evaluate(sequences, batch)["intent_accuracy"].tolist() == [[1.0]]


def test_characters_beside_words_change_neither_baseline_nor_page() -> None:
    plain = example()
    tokens = plain.inputs["tokens"]
    beside = torch.cat([tokens.values.values.unsqueeze(1), torch.full((len(tokens.values.values), 2), 1)], dim=1)
    spelled = replace(plain, inputs={"tokens": replace(tokens, values=replace(tokens.values, values=beside))})
    task = Tagging()
    assert task.baseline(spelled, spelled) == task.baseline(plain, plain)
    one = [examples.head(1) for examples in (plain, spelled)]
    assert task.show(one[1], {}) == task.show(one[0], {})


def test_data_without_any_slot_are_no_data_for_tagging() -> None:
    """The F1 of no slot at all is 1, whatever a network finds."""
    with pytest.raises(InputError, match=r"each token of training has the slot label O.* or read the sentences by `intents`"):
        signature(Tagging(), example([([1, 2], [0, 0], 0), ([4, 5], [0, 0], 1)], slots=("O",)))
