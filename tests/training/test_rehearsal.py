"""Causal outputs are compared with those of shorter inputs; the rest is in `tests/sweep/test_student_checks.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.plain import SENTENCES
from tutelage import plugins
from tutelage.errors import InputError
from tutelage.signature import Signature
from tutelage.training.rehearsal import _check_causal

SLOTS = SENTENCES.outputs[0]
CAUSAL = Signature(inputs=SENTENCES.inputs, outputs=(replace(SLOTS, is_causal=True),))
MASK = torch.arange(6) < torch.tensor([[6], [2], [4]])
ARGUMENTS = (torch.randint(0, 8, (3, 6), generator=torch.Generator().manual_seed(0)), MASK)


def network(name: str) -> nn.Module:
    _, plugin, config = plugins.configure("models", name)
    torch.manual_seed(0)
    built: nn.Module = plugin.build(config, replace(SENTENCES, outputs=(SLOTS,)))
    return built


@pytest.mark.parametrize("name", ["transformer", "bigru", "text_cnn"])
def test_a_network_that_reads_later_steps_is_an_error_where_it_must_not(name: str) -> None:
    with pytest.raises(InputError, match="the output 'slots' for a step changes with later steps of 'tokens'"):
        _check_causal(network(name), ARGUMENTS, CAUSAL)
    _check_causal(network(name), ARGUMENTS, SENTENCES)


@pytest.mark.parametrize("name", ["causal_transformer", "gru"])
def test_a_causal_network_is_accepted(name: str) -> None:
    _check_causal(network(name), ARGUMENTS, CAUSAL)
    _check_causal(network(name), tuple(one[:, :1] for one in ARGUMENTS), CAUSAL)
