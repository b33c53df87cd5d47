"""A document in a row of several has the outputs that it has alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.plain import signature_for
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.models._tokens import documents
from tutelage.networks import stages
from tutelage.signature import Signature

START, LENGTHS = 3, (1, 5, 2, 9, 30)


def signature(name: str) -> Signature:
    own = signature_for(name)
    stepped = tuple(output for output in own.outputs if output.steps)
    return replace(own, inputs=(replace(own.inputs[0], document_start=START),), outputs=stepped)


def network(name: str = "causal_transformer", **options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {name: options})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, signature(name))
    return model.eval()


def texts() -> list[torch.Tensor]:
    """Return documents that begin at the token `START`, and one before them that does not."""
    generator = torch.Generator().manual_seed(0)
    size = len(signature_for("causal_transformer").inputs[0].names)
    others = [token for token in range(size) if token != START]
    found = []
    for number, length in enumerate(LENGTHS):
        tokens = torch.tensor(others)[torch.randint(0, len(others), (length,), generator=generator)]
        found.append(tokens if number == 0 else torch.cat([torch.tensor([START]), tokens[1:]]))
    return found


def outputs(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    (found,) = model(tokens, mask).values()
    return found  # type: ignore[no-any-return]


def test_a_document_begins_at_its_token_and_padding_is_none() -> None:
    tokens = torch.tensor([[1, START, 2, START, START, 4, 0]])
    mask = torch.tensor([[True] * 6 + [False]])
    assert documents(tokens, mask, START).tolist() == [[1, 2, 2, 3, 4, 4, 0]]


def test_packed_documents_have_the_outputs_and_gradients_that_they_have_alone() -> None:
    model, alone = network(depth=2), texts()
    row = torch.cat([*alone, torch.zeros(7, dtype=torch.int64)]).unsqueeze(0)
    mask = torch.arange(row.shape[1]).unsqueeze(0) < sum(LENGTHS)
    packed = outputs(model, row, mask)[0, : sum(LENGTHS)]
    apart = torch.cat([outputs(model, one.unsqueeze(0), torch.ones(1, len(one), dtype=torch.bool))[0] for one in alone])
    torch.testing.assert_close(packed, apart, atol=1e-6, rtol=0)
    first, second = (torch.autograd.grad(one.square().mean(), list(model.parameters())) for one in (packed, apart))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-4)


def test_scores_of_heads_are_0_between_documents_and_those_of_the_document_alone_within() -> None:
    model, alone = network(depth=1), texts()
    row, mask = torch.cat(alone).unsqueeze(0), torch.ones(1, sum(LENGTHS), dtype=torch.bool)
    with torch.no_grad(), stages.heads_watched(model) as packed:
        model(row, mask)
    blocks = []
    for one in alone:
        with torch.no_grad(), stages.heads_watched(model) as own:
            model(one.unsqueeze(0), torch.ones(1, len(one), dtype=torch.bool))
        blocks.append(own["stage1"][0])
    expected = torch.stack([torch.block_diag(*(block[head] for block in blocks)) for head in range(len(blocks[0]))])
    torch.testing.assert_close(packed["stage1"][0], expected, atol=1e-6, rtol=1e-6)


def test_the_loss_over_packed_rows_is_that_over_their_documents() -> None:
    model, alone = network(depth=1), texts()
    row, mask = torch.cat(alone).unsqueeze(0), torch.ones(1, sum(LENGTHS), dtype=torch.bool)
    padded = nn.utils.rnn.pad_sequence(alone, batch_first=True)
    real = torch.arange(padded.shape[1]) < torch.tensor(LENGTHS).unsqueeze(1)
    labels = torch.cat(alone).roll(-1) % 3
    losses = [
        functional.cross_entropy(logits, labels)
        for logits in (outputs(model, row, mask)[mask], outputs(model, padded, real)[real])
    ]
    torch.testing.assert_close(*losses, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["gru", "transformer", "bigru", "text_cnn"])
def test_a_network_that_reads_across_documents_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"model '{name}' reads across documents"):
        network(name)


def test_a_mean_over_a_row_of_documents_is_refused() -> None:
    _, plugin, config = plugins.configure("models", "causal_transformer")
    with pytest.raises(InputError, match="reads across documents"):
        plugin.build(config, replace(signature("causal_transformer"), outputs=signature_for("causal_transformer").outputs))
