"""Networks that read sentences: what they compute, what they cost, and that padding changes nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.plain import SENTENCES, examples_for, models_for, plain_signature
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.models._attention import Attention
from tutelage.models._recurrent import Bidirectional, Forward
from tutelage.models.causal_transformer import CausalAttention, rotated, rotations
from tutelage.models.transformer import positions
from tutelage.networks import checkpoint, cost, runtime, stages
from tutelage.networks.onnx_format import Session
from tutelage.networks.program import program_bytes, program_of
from tutelage.signature import OutputSpec, Signature
from tutelage.sparsity import Calibration
from tutelage.sparsity._recurrent import recurrent

MODELS = [name for name in models_for(SENTENCES) if name != "huggingface"]  # those with an embedding of our tokens
NEXT = Signature(
    inputs=SENTENCES.inputs,
    outputs=(OutputSpec(name="token", names=SENTENCES.inputs[0].names, steps="tokens", is_causal=True),),
)
CAUSAL = models_for(NEXT)
WORDS, STEPS = 8, 5  # of SENTENCES: the vocabulary, and the typical length
CLASSES = 3 * STEPS + 2  # outputs of the heads for a typical sentence


def build(name: str, signature: Signature = SENTENCES, **options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {name: options})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, signature)
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), more=st.integers(0, 4), filling=st.integers(-1, WORDS - 1))
def test_padding_changes_no_output(name: str, lengths: list[int], more: int, filling: int) -> None:
    model = build(name, depth=2)
    tokens = torch.randint(0, WORDS, (len(lengths), max(lengths) + more), generator=torch.Generator().manual_seed(sum(lengths)))
    mask = torch.arange(tokens.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    found = model(tokens.where(mask, filling), mask)
    for row, length in enumerate(lengths):
        alone = model(tokens[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(found["slots"][row, :length], alone["slots"][0])
        torch.testing.assert_close(found["intent"][row], alone["intent"][0])


@pytest.mark.parametrize("options", [{}, {"tied": True}], ids=str)
@pytest.mark.parametrize("name", CAUSAL)
@settings(max_examples=15)
@given(steps=st.integers(1, 9), kept=st.integers(0, 8), seed=st.integers(0, 99))
def test_later_tokens_change_no_earlier_output(name: str, options: dict[str, Any], steps: int, kept: int, seed: int) -> None:
    if set(options) - set(plugins.load("models", name).Config.model_fields):
        return
    model, generator = build(name, NEXT, depth=2, **options), torch.Generator().manual_seed(seed)
    one, other = (torch.randint(0, WORDS, (2, steps), generator=generator) for _ in range(2))
    mixed = torch.where(torch.arange(steps) < kept, one, other)
    outputs = [model(tokens, torch.ones(2, steps, dtype=torch.bool))["token"] for tokens in (one, mixed)]
    torch.testing.assert_close(outputs[1][:, :kept], outputs[0][:, :kept])
    assert steps <= kept or not torch.equal(*outputs) or torch.equal(one, mixed), "the tokens themselves do change it"


def test_a_network_that_reads_later_tokens_does_not_model_a_language() -> None:
    assert {"causal_transformer", "gru"} <= set(CAUSAL) < set(MODELS)
    for name in set(MODELS) - set(CAUSAL):
        with pytest.raises(InputError, match=f"model '{name}' reads later tokens, and the label sequence token must not"):
            build(name, NEXT)


def test_tied_weights_are_the_embeddings_and_need_the_vocabulary_as_classes() -> None:
    plain, tied = (build("causal_transformer", NEXT, width=8, embedding=8, tied=tied) for tied in (False, True))
    assert cost.size(plain)["params"] - cost.size(tied)["params"] == 8 * WORDS
    tied.stem.table.weight.data.zero_()  # type: ignore[union-attr]
    assert not tied(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool))["token"].any()
    with pytest.raises(InputError, match="tied weights need one label sequence whose classes are the vocabulary of 'tokens'"):
        build("causal_transformer", tied=True)


def test_causal_attention_is_that_of_rotated_queries_and_keys_over_earlier_tokens() -> None:
    torch.manual_seed(0)
    own, tokens = CausalAttention(8, 2), torch.randn(2, 5, 8)
    queries, keys, values = own.queries_keys_values(tokens).view(2, 5, 3, 2, 4).unbind(2)
    rates = torch.tensor([1.0, 10_000.0 ** (-2 / 4)])

    def turned(vectors: torch.Tensor) -> torch.Tensor:
        """Return the pairs (i, i + 2) as complex numbers, turned by step times rate."""
        numbers = torch.complex(vectors[..., :2], vectors[..., 2:])
        return numbers * torch.exp(1j * torch.arange(5).view(1, 5, 1, 1) * rates)

    scores = torch.einsum("bqhd,bkhd->bhqk", turned(queries), turned(keys).conj()).real / 2
    torch.testing.assert_close(own.head_scores(tokens), scores.tril())
    seen = scores.masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), float("-inf")).softmax(dim=-1)
    expected = torch.einsum("bhqk,bkhd->bqhd", seen, values).flatten(2)
    torch.testing.assert_close(own(tokens), own.projection(expected))


def test_a_turn_keeps_lengths_and_depends_on_distances_alone() -> None:
    vectors = torch.randn(1, 1, 6)
    turned = rotated(vectors.expand(1, 9, 6), *rotations(torch.arange(9), 6))
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1).expand(1, 9))
    products = (turned[0] @ turned[0].T).detach()
    torch.testing.assert_close(products[:-1, :-1], products[1:, 1:])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_layer_of_one_direction_is_torchs_own_on_packed_sentences(kind: Any) -> None:
    torch.manual_seed(0)
    layer, features, lengths = Forward(kind, 4, 3, 0.0).eval(), torch.randn(3, 6, 4), torch.tensor([6, 1, 4])
    mask = torch.arange(6) < lengths.unsqueeze(1)
    packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(layer.forwards(packed)[0], batch_first=True)
    torch.testing.assert_close(layer(features.where(mask.unsqueeze(-1), 9.0), mask), expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_is_torchs_own_on_packed_sentences(kind: Any) -> None:
    torch.manual_seed(0)
    layer, reference = Bidirectional(kind, 4, 3, 0.0).eval(), kind(4, 3, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, weight in layer.forwards.named_parameters():
            reference.get_parameter(name).copy_(weight)
        for name, weight in layer.backwards.named_parameters():
            reference.get_parameter(f"{name}_reverse").copy_(weight)
    features, lengths = torch.randn(3, 6, 4), torch.tensor([6, 1, 4])
    mask = torch.arange(6) < lengths.unsqueeze(1)
    packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(reference(packed)[0], batch_first=True)
    torch.testing.assert_close(layer(features.where(mask.unsqueeze(-1), 9.0), mask), expected)


def test_attention_is_torchs_own_with_a_mask_of_padding() -> None:
    torch.manual_seed(0)
    own, reference = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(own.queries_keys_values.weight)
        reference.in_proj_bias.copy_(own.queries_keys_values.bias)
        reference.out_proj.load_state_dict(own.projection.state_dict())
    tokens, mask = torch.randn(2, 4, 8), torch.tensor([[True] * 4, [True, True, False, False]])
    expected, _ = reference(tokens, tokens, tokens, key_padding_mask=~mask)
    torch.testing.assert_close(own(tokens, mask)[mask], expected[mask])


def test_positions_are_the_published_sines_and_cosines() -> None:
    found = positions(4, 6, torch.device("cpu"))
    torch.testing.assert_close(found[3, 1], torch.tensor(3 / 10_000 ** (2 / 6)).sin())
    torch.testing.assert_close(found[3, 4], torch.tensor(3 / 10_000 ** (2 / 6)).cos())


SIZES = {  # options, and the parameters and multiply-accumulates of the body, the latter for a sentence of five tokens
    "bilstm": (
        {"embedding": 6, "hidden": 4, "depth": 2}, WORDS * 6 + 2 * (16 * (6 + 4) + 32) + 2 * (16 * (8 + 4) + 32) + 16,
        STEPS * 2 * (16 * (6 + 4) + 16 * (8 + 4)),
    ),
    "bigru": ({"embedding": 6, "hidden": 4, "depth": 1}, WORDS * 6 + 2 * (12 * (6 + 4) + 24) + 16, STEPS * 2 * 12 * (6 + 4)),
    "gru": ({"embedding": 6, "hidden": 8, "depth": 1}, WORDS * 6 + 24 * (6 + 8) + 48, STEPS * 24 * (6 + 8)),
    "text_cnn": (
        {"embedding": 6, "width": 8, "depth": 2, "kernel": 3}, WORDS * 6 + 6 * 8 + 2 * (16 + 3 * 64 + 8) + 16,
        STEPS * (6 * 8 + 2 * 3 * 64),
    ),
    "transformer": (
        {"embedding": 6, "width": 8, "depth": 2, "heads": 2, "mlp_ratio": 2.0},
        WORDS * 6 + 6 * 8 + 2 * (32 + 3 * 64 + 24 + 64 + 8 + 2 * 128 + 16 + 8) + 16,
        STEPS * (6 * 8 + 2 * (4 * 64 + 2 * 128 + 2 * STEPS * 8)),
    ),
}  # fmt: skip
SIZES["causal_transformer"] = SIZES["transformer"]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_macs_are_those_of_the_formulas(name: str) -> None:
    options, params, macs = SIZES[name]
    model = build(name, **options)
    assert cost.size(model)["params"] == params + (8 + 1) * (3 + 2)
    assert cost.macs(model, SENTENCES)["macs"] == macs + 8 * CLASSES


@pytest.mark.parametrize("name", MODELS)
def test_every_stage_has_a_position_for_each_token(name: str) -> None:
    outline = stages.outline_of(build(name, depth=2), SENTENCES)
    assert [(stage.name, stage.has_steps) for stage in outline.stages] == [("stage1", True), ("stage2", True)]
    assert all(stage.heads == (4 if "transformer" in name else 0) for stage in outline.stages)


@pytest.mark.parametrize("name", MODELS)
def test_one_class_a_sentence_is_read_from_the_mean_of_its_tokens(name: str) -> None:
    model = build(name, Signature(inputs=SENTENCES.inputs, outputs=(OutputSpec(name="class", names=tuple("xyz")),)))
    assert model(*examples_for(SENTENCES, 4)).shape == (4, 3)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    about = {"version": 2, "model": name, "signature": SENTENCES.document()}
    model, batch = checkpoint.build(about).eval(), examples_for(SENTENCES, 3)
    checkpoint.write(tmp_path, model, about)
    torch.testing.assert_close(checkpoint.read(tmp_path)[0].eval()(*batch), model(*batch))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_an_exported_network_takes_sentences_of_any_length(name: str, tmp_path: Path) -> None:
    model = build(name)
    program = torch.export.load(io.BytesIO(program_bytes(program_of(model, SENTENCES), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", model, SENTENCES)
    session = Session(tmp_path / "network.onnx")
    for count, steps in ((1, 1), (3, 9), (2, 5)):
        tokens = torch.randint(0, WORDS, (count, steps))
        mask = torch.arange(steps) < torch.randint(1, steps + 1, (count, 1))
        expected = model(tokens, mask)
        for found in (program(tokens, mask), session.run(tokens, mask)):
            assert isinstance(found, dict)
            for output, logits in expected.items():
                torch.testing.assert_close(found[output], logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "method"), [("gru", "units"), ("causal_transformer", "heads")])
def test_parts_of_a_causal_network_that_are_zero_can_be_removed(name: str, method: str) -> None:
    model, arguments = build(name, NEXT, depth=2), examples_for(NEXT, 5)
    if method == "units":
        for stage in ("stage1.forwards", "stage2.forwards"):
            recurrent(model, arguments, stage).silence([torch.arange(0, 64, 2)])
    else:
        for stage in ("stage1.attention", "stage2.attention"):
            for name_of, outputs in (
                ("queries_keys_values.weight", 3),
                ("queries_keys_values.bias", 3),
                ("projection.weight", 128),
            ):
                weight = model.get_parameter(f"{stage}.{name_of}")
                weight.data.view(outputs, 4, -1)[:, ::2] = 0.0
    expected, params = model(*arguments)["token"], cost.size(model)["params"]
    _, plugin, config = plugins.configure("sparsity", method)
    removal, data = plugin.build(config, 0.5), Calibration(arguments=arguments, steps=4, batches=lambda count: [arguments])
    (point,) = removal.finish(removal.start(model, data), data)
    assert cost.size(point.model)["params"] < 0.9 * params
    torch.testing.assert_close(point.model(*arguments)["token"], expected, atol=1e-5, rtol=0)


LETTERS = ("character ", "character x")
SPELLED = replace(
    SENTENCES, inputs=(replace(SENTENCES.inputs[0], shape=("tokens_steps", 5), names=(*SENTENCES.inputs[0].names, *LETTERS)),)
)  # fmt: skip


def spelled(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a sentence of words with four characters each, token 8 for none."""
    return torch.tensor([[[*row, *[8] * (5 - len(row))] for row in rows]]), torch.ones(1, len(rows), dtype=torch.bool)


@pytest.mark.parametrize("name", MODELS)
def test_characters_tell_words_apart_and_padding_changes_nothing(name: str) -> None:
    model = build(name, SPELLED)
    tokens, mask = spelled([0, 9], [3, 9, 0])
    found = model(tokens, mask)["slots"]
    assert not torch.allclose(found, model(*spelled([0, 9, 9], [3, 9, 0]))["slots"])
    assert not torch.allclose(found, model(*spelled([0, 0], [3, 9, 0]))["slots"]), "an unknown character is one all the same"
    longer = torch.cat([tokens, torch.full((1, 1, 5), 9)], dim=1)
    torch.testing.assert_close(model(longer, torch.tensor([[True, True, False]]))["slots"][:, :2], found)
    parameters = sum(one.numel() for one in build(name, SENTENCES).parameters())
    width = model.get_submodule("stem" if name != "transformer" else "stem.tokens").table.embedding_dim
    own = 3 * 32 + 3 * 32 * width + width  # three kinds of characters, and a convolution over three
    assert sum(one.numel() for one in model.parameters()) == parameters + own


def test_the_features_of_a_word_are_the_largest_of_its_characters() -> None:
    stem = build("bigru", SPELLED).get_submodule("stem")
    tokens, mask = spelled([0, 9, 0])
    letters = torch.nn.functional.pad(stem.spelling.table.weight[[2, 0]].T.unsqueeze(0), (1, 3))  # at the ends are zeros
    convolution = stem.spelling.convolution
    expected = torch.conv1d(letters, convolution.weight[:, :, 0], convolution.bias).relu().amax(dim=2)[0]
    torch.testing.assert_close(stem(tokens, mask)[0, 0], stem.table.weight[0] + expected)


@pytest.mark.slow
def test_an_exported_network_takes_words_with_their_characters(tmp_path: Path) -> None:
    model = build("bigru", SPELLED)
    program = torch.export.load(io.BytesIO(program_bytes(program_of(model, SPELLED), {}))).module()
    runtime.write_onnx(tmp_path / "network.onnx", model, SPELLED)
    session = Session(tmp_path / "network.onnx")
    for count, steps in ((1, 1), (3, 9)):
        tokens, mask = torch.randint(0, WORDS, (count, steps, 5)), torch.ones(count, steps, dtype=torch.bool)
        for found in (program(tokens, mask), session.run(tokens, mask)):
            torch.testing.assert_close(found["slots"], model(tokens, mask)["slots"], atol=1e-5, rtol=0)


def test_what_makes_no_network_is_an_error() -> None:
    for name in MODELS:
        with pytest.raises(InputError, match=f"model '{name}' takes one sequence of tokens; the data has image"):
            build(name, plain_signature())
    with pytest.raises(InputError, match="3 heads do not divide a width of 32"):
        build("transformer", heads=3, width=32)
    with pytest.raises(InputError, match="4 heads do not divide a width of 12 into even shares"):
        build("causal_transformer", heads=4, width=12)
    with pytest.raises(InputError, match="a kernel of 4 tokens has no middle"):
        build("text_cnn", kernel=4)
