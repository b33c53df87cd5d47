"""The heads that a network has for the outputs of its task."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.models import Heads, heads
from tutelage.signature import InputSpec, OutputSpec, Signature

WORDS = InputSpec(name="words", kind="tokens", dtype="int64", shape=("words_steps",))
SLOTS, INTENT = OutputSpec(name="slots", names=tuple("abc"), steps="words"), OutputSpec(name="intent", names=tuple("xy"))


def built(*outputs: OutputSpec) -> nn.Module:
    torch.manual_seed(0)
    return heads(4, Signature(inputs=(WORDS,), outputs=outputs))


def test_a_single_sequence_of_one_step_has_a_linear_layer() -> None:
    layer = built(INTENT)
    assert isinstance(layer, nn.Linear) and layer(torch.zeros(5, 4)).shape == (5, 2)
    assert layer.keeps_width


def test_every_sequence_has_its_own_layer_of_fixed_width() -> None:
    both = built(SLOTS, INTENT)
    assert isinstance(both, Heads) and list(both) == ["slots", "intent"]
    assert all(layer.keeps_width for layer in both.values())
    found = both(torch.randn(5, 3, 4), torch.ones(5, 3, dtype=torch.bool))
    assert {name: tuple(logits.shape) for name, logits in found.items()} == {"slots": (5, 3, 3), "intent": (5, 2)}
    assert isinstance(built(SLOTS), Heads), "a step for each position"
    pooled = built(INTENT, OutputSpec(name="mood", names=tuple("uvw")))
    assert {name: tuple(logits.shape) for name, logits in pooled(torch.zeros(5, 4)).items()} == {
        "intent": (5, 2),
        "mood": (5, 3),
    }


def test_a_network_whose_sequence_has_a_name_that_python_reserves_can_be_exported() -> None:
    both = built(SLOTS, OutputSpec(name="class", names=tuple("xy")))
    assert list(both.state_dict())[2] == "class_.weight"
    program = torch.export.export(both, (torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)))
    assert program.run_decompositions().module()(torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))["class"].shape == (
        2,
        2,
    )


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 3))
def test_padding_changes_no_logit(lengths: list[int], more: int) -> None:
    steps = max(lengths)
    features = torch.randn(len(lengths), steps, 4, generator=torch.Generator().manual_seed(steps))
    mask = torch.arange(steps + more) < torch.tensor(lengths).unsqueeze(1)
    wide = torch.full((len(lengths), steps + more, 4), float("nan"))
    wide[:, :steps] = features
    wide = wide.where(mask.unsqueeze(-1), float("nan"))
    both = built(SLOTS, INTENT)
    one, other = both(features, mask[:, :steps]), both(wide, mask)
    torch.testing.assert_close(other["intent"], one["intent"])
    torch.testing.assert_close(other["slots"][mask], one["slots"][mask[:, :steps]])
