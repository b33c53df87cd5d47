"""Language models: sums over tokens, their measures, and the baseline of token pairs, in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tutelage import plugins
from tutelage.data import UNKNOWN, Batch, Examples, Field, ragged
from tutelage.errors import InputError
from tutelage.measures import bits_per_character, next_token_accuracy, perplexity
from tutelage.tasks import LabelSequence, Sequences, signature
from tutelage.tasks._bigrams import bigram_nats
from tutelage.tasks.language_model import LanguageModel

NAMES = ("a", "b", "the", "on")
TEXTS = [[0, 1, 2, 3, 0], [2, 2, 1], [3, 0]]


MANY = [[0, 1, 2, 3, 0, 1], [2, 2, 1, 0], [3, 0, 3]] * 14


def example(texts: list[list[int]] = MANY) -> Examples:
    tokens, following = (ragged([torch.tensor(one[cut]) for one in texts]) for cut in (slice(-1), slice(1, None)))
    return Examples(
        inputs={"tokens": Field(values=tokens, kind="tokens", names=NAMES)},
        targets={"token": Field(values=following, kind="class", names=NAMES)},
    )


def flat(batch: Batch, classes: int = 4) -> Sequences:
    """Return the logits of a network for which all tokens are equally likely."""
    mask = batch.masks["tokens"]
    return {"token": LabelSequence(logits=torch.zeros(*mask.shape, classes), mask=mask)}


def test_the_label_sequence_is_causal_and_has_a_step_for_each_token() -> None:
    (output,) = signature(LanguageModel(), example()).outputs
    assert (output.name, output.names, output.steps, output.is_causal) == ("token", NAMES, "tokens", True)
    _, plugin, config = plugins.configure("data", "digits")
    with pytest.raises(InputError, match="task 'language_model': the data lack an input of tokens"):
        LanguageModel().outputs(plugin.read(config, 0, "test"))
    with pytest.raises(InputError, match="the data lack the target 'token'"):
        LanguageModel().outputs(replace(example(), targets={}))


def test_equally_likely_tokens_cost_the_logarithm_of_their_number() -> None:
    batch = example(TEXTS).take(slice(None))
    torch.testing.assert_close(LanguageModel().loss(flat(batch), batch), torch.full((3,), math.log(4)))
    found = LanguageModel().evaluate(flat(batch), batch)
    np.testing.assert_allclose(found["perplexity"], [[4 * math.log(4), 4], [2 * math.log(4), 2], [math.log(4), 1]])
    np.testing.assert_allclose(found["bits_per_character"][:, 1], [1 + 3 + 2 + 1, 3 + 1, 1])
    assert found["next_token_accuracy"].tolist() == [[1, 4], [0, 2], [1, 1]], "of equal logits the first counts"


def test_measures_are_ratios_of_sums_over_all_texts() -> None:
    batch = example(TEXTS).take(slice(None))
    found = {name: values.numpy() for name, values in LanguageModel().evaluate(flat(batch), batch).items()}
    assert bits_per_character.MEASURE.aggregate(found["bits_per_character"]) == pytest.approx(7 * 2 / 12)
    assert perplexity.MEASURE.aggregate(found["perplexity"]) == pytest.approx(4)
    assert next_token_accuracy.MEASURE.aggregate(found["next_token_accuracy"]) == pytest.approx(2 / 7)


def test_tokens_without_a_label_count_for_nothing() -> None:
    batch = example(TEXTS).take(slice(None))
    labels = batch.targets["token"].clone()
    labels[0, 1:] = UNKNOWN
    found = LanguageModel().evaluate(flat(batch), replace(batch, targets={"token": labels}))
    np.testing.assert_allclose(found["perplexity"][0], [math.log(4), 1])
    assert found["next_token_accuracy"][0].tolist() == [0, 1]


def test_predictions_are_the_most_likely_tokens_without_padding() -> None:
    batch = example(TEXTS).take(slice(None))
    logits = torch.eye(4)[batch.targets["token"].clamp(min=0)]
    found = LanguageModel().decode({"token": LabelSequence(logits=logits, mask=batch.masks["tokens"])}, batch)
    assert found == [one[1:] for one in TEXTS]


def test_pairs_of_tokens_have_the_probabilities_of_their_counts() -> None:
    """In training, 1 follows 0 twice and 0 follows 1 once; with one more of each, 1 has three of six next tokens."""
    pairs = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1])
    others = torch.tensor([0, 0, 2]), torch.tensor([1, 2, 0])
    expected = [(2 + 3 / 6) / (2 + 1), (0 + 1 / 6) / (2 + 1), (0 + 2 / 6) / (0 + 1)]
    np.testing.assert_allclose(torch.exp(-bigram_nats(pairs, others, 3)), expected)


def test_the_probabilities_behind_each_token_sum_to_one() -> None:
    pairs = torch.randint(0, 5, (2, 40), generator=torch.Generator().manual_seed(0))
    every = torch.cartesian_prod(torch.arange(6), torch.arange(6)).T
    sums = torch.exp(-bigram_nats((pairs[0], pairs[1]), (every[0], every[1]), 6)).view(6, 6).sum(dim=1)
    torch.testing.assert_close(sums, torch.ones(6, dtype=torch.double))


def test_the_baseline_is_the_bits_a_character_of_token_pairs() -> None:
    train, validation = example([[0, 1, 0, 1]]), example([[0, 1], [2, 0]])
    share = [1 / 7, 3 / 7]  # of the next tokens 0 and 1 in training, with one more of each of the four
    nats = -math.log((2 + share[1]) / 3) - math.log(2 / 7)
    assert LanguageModel().baseline(train, validation) == pytest.approx(nats / math.log(2) / 2)
    assert share[0] < share[1]


def test_a_shown_text_marks_wrong_next_tokens_and_makes_blanks_visible() -> None:
    one = example([[0, 1, 2]])
    spaced = replace(one, targets={"token": replace(one.targets["token"], names=(" ", "b", "\n", "on"))})
    batch = spaced.take(slice(None))
    logits = torch.eye(4)[torch.tensor([[1, 0]])]
    shown = LanguageModel().show(spaced, {"student": {"token": LabelSequence(logits=logits, mask=batch.masks["tokens"])}})
    assert "<th>next</th><td>b</td><td>⏎</td>" in shown and "<th>student</th><td>b</td><td><mark>␣</mark></td>" in shown
