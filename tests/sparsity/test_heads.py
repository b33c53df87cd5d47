"""Whole attention heads: masked equals removed for every form of attention, which heads go, and how a network is read back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.odd_networks import Encoder
from tests.plain import architecture_of
from tests.sparse_models import ENCODER
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.networks.weights import load, weights_of
from tutelage.sparsity import Calibration, Method
from tutelage.sparsity._attention import attention, remove_heads
from tutelage.sparsity._equal_outputs import equal_outputs, outputs_of
from tutelage.sparsity._few_heads import FewHeads
from tutelage.sparsity.heads import Config, _scores, build

MODELS = ["vit", ENCODER]

IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
HEADS, WIDTH = 4, 12


class Own(nn.Module):
    """A transformer block of a user's: the rows of an image are its tokens. Subclasses differ in their attention."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.norm, self.head = nn.Linear(8, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        self.attention = self.block()

    @staticmethod
    def block() -> nn.Module:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embedding(images[:, 0])
        logits: Tensor = self.head((tokens + self.attention(self.norm(tokens))).mean(dim=1))
        return logits


def mixed(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    split = [one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (queries, keys, values)]
    return functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


class Fused(nn.Module):
    """All queries, then all keys and values, of one layer; the projection lies deeper (as in vit-pytorch)."""

    def __init__(self) -> None:
        super().__init__()
        self.n_head, self.inner_width = HEADS, 8
        self.qkv, self.to_out = nn.Linear(WIDTH, 24, bias=False), nn.Sequential(nn.Linear(8, WIDTH), nn.Dropout(0.1))

    def forward(self, tokens: Tensor) -> Any:
        queries, keys, values = self.qkv(tokens).chunk(3, dim=-1)
        return self.to_out(mixed(queries, keys, values, self.n_head))


class Interleaved(Fused):
    """The queries, keys and values of each head lie together (as in GPT-NeoX)."""

    def forward(self, tokens: Tensor) -> Any:
        split = self.qkv(tokens).unflatten(-1, (self.n_head, 3, -1)).permute(3, 0, 2, 1, 4)
        return self.to_out(functional.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


class Separate(nn.Module):
    """Three layers, and an attribute that holds the width of all heads, which equals the width of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.inner_width = HEADS, WIDTH
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Any:
        found = mixed(self.q(tokens), self.k(tokens), self.v(tokens), self.num_heads)
        return self.out(found.view(*tokens.shape[:2], self.inner_width))


class TokenWide(Fused):
    """The width of a head is computed from that of the tokens, as in nanoGPT."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.to_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)  # type: ignore[assignment]

    def forward(self, tokens: Tensor) -> Any:
        batch, positions, width = tokens.shape
        split = self.qkv(tokens).view(batch, positions, 3, self.n_head, width // self.n_head).permute(2, 0, 3, 1, 4)
        return self.to_out(functional.scaled_dot_product_attention(*split).transpose(1, 2).reshape(batch, positions, width))


class Grouped(Separate):
    def __init__(self) -> None:
        super().__init__()
        self.k, self.v = nn.Linear(WIDTH, 6), nn.Linear(WIDTH, 6)

    def forward(self, tokens: Tensor) -> Any:
        keys, values = (one(tokens).unflatten(-1, (2, 3)).repeat_interleave(2, dim=2).flatten(2) for one in (self.k, self.v))
        return self.out(mixed(self.q(tokens), keys, values, self.num_heads))


class Tied(Separate):
    def __init__(self) -> None:
        super().__init__()
        self.k.weight = self.q.weight


def own(block: type[nn.Module]) -> Own:
    return type("Network", (Own,), {"block": staticmethod(block)})()  # type: ignore[no-any-return]


def vit() -> nn.Module:
    return checkpoint.seeded(architecture_of({"vit": {"width": 16, "depth": 3, "heads": 4}}, (1, 8, 8), "abc"), 0)


def encoder(**options: Any) -> Any:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return Encoder(**options)

    return made


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": vit, "fused": lambda: own(Fused), "interleaved": lambda: own(Interleaved), "separate": lambda: own(Separate),
    "nn.TransformerEncoderLayer": encoder(),
}  # fmt: skip
ATTENTIONS = {"vit": "stage2.0.attention", "nn.TransformerEncoderLayer": "layer.self_attn"}


def data(model: nn.Module, seed: int = 0) -> Calibration:
    def losses(count: int) -> Iterator[Tensor]:
        return (model(IMAGES[number : number + 2]).square().mean() for number in range(min(count, 3)))

    return Calibration(arguments=(IMAGES[:2],), seed=seed, losses=losses)


def method(amount: float = 0.5, **options: Any) -> Method:
    return build(Config(**options), amount)


@pytest.mark.parametrize("network", NETWORKS)
def test_an_attention_without_heads_equals_one_whose_heads_are_masked(network: str) -> None:
    model, name = NETWORKS[network]().eval(), ATTENTIONS.get(network, "attention")
    whole = model(IMAGES)
    one = attention(model, (IMAGES[:2],), name)
    torch.testing.assert_close(model(IMAGES), whole, msg="an attention that can lose heads is the same function")
    masked, width = copy.deepcopy(model), one.projection.in_features // HEADS
    with torch.no_grad():
        for head in (0, 3):
            masked.get_submodule(_path(model, one.projection)).weight[:, head * width : (head + 1) * width] = 0.0
    expected = outputs_of(masked, (IMAGES[:2],))
    changed = remove_heads(one, torch.tensor([1, 2]), lambda: equal_outputs(model, (IMAGES[:2],), expected))
    assert changed[one.count] == one.num_heads == 2 and one.projection.in_features == 2 * width
    torch.testing.assert_close(model(IMAGES), masked(IMAGES), atol=1e-6, rtol=0)


def _path(model: nn.Module, layer: nn.Module) -> str:
    return next(name for name, one in model.named_modules() if one is layer)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_attention_loses_its_share_again_and_again_and_is_read_back(network: str) -> None:
    model, one = NETWORKS[network](), method(0.5)
    model = one.remove(model, data(model))
    one.amount = 0.75  # of the four heads that the whole network has
    model = one.remove(model, data(model)).eval()
    (point,) = one.finish(model, data(model))
    assert point.surgery is not None and point.surgery["attentions"]
    assert all(1 in attributes.values() for attributes in point.surgery["attentions"].values())
    for again in (method().replay(NETWORKS[network](), point.surgery), method().restore(NETWORKS[network](), one.state())):
        torch.testing.assert_close(load(again, weights_of(model)).eval()(IMAGES), model(IMAGES))
    model.train()(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_norm_is_of_a_heads_queries_keys_values_and_the_columns_that_read_it() -> None:
    model = own(Separate)
    squares, rows, block = attention(model, (IMAGES,), "attention").squares(), slice(3, 6), model.attention
    parts = [one for layer in (block.q, block.k, block.v) for one in (layer.weight[rows], layer.bias[rows])]
    expected = torch.stack([part.square().sum() for part in (*parts, block.out.weight[:, rows])]).sum()
    torch.testing.assert_close(squares[1], expected.detach())


def test_the_taylor_score_is_the_change_of_the_loss_by_a_factor_of_the_heads_output() -> None:
    model = own(Fused).eval()
    one = attention(model, (IMAGES,), "attention")
    found = [abs(float(x)) for x in torch.zeros(HEADS)]
    for number in range(3):
        for head in range(HEADS):

            def loss(factor: float, number: int = number, head: int = head) -> float:
                scale = torch.ones(HEADS).index_fill(0, torch.tensor([head]), factor).repeat_interleave(2)
                hook = one.projection.register_forward_pre_hook(lambda _, inputs: (inputs[0] * scale,))
                value = model.double()(IMAGES[number : number + 2].double()).square().mean().item()
                hook.remove()
                return value

            found[head] += abs(loss(1 + 1e-4) - loss(1 - 1e-4)) / 2e-4
    model.float()
    (scores,) = _scores("taylor", model, [one], data(model))
    torch.testing.assert_close(scores, torch.tensor(found), rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_head_that_does_not_change_the_loss_goes_first_and_random_ones_go_by_the_seed() -> None:
    def kept(score: Any, seed: int = 0) -> list[int]:
        model = own(Separate).eval()
        with torch.no_grad():
            model.attention.out.weight[:, 3:9] *= 1e-6
            model.attention.q.weight[3:9] *= 100.0
            model.attention.q.bias.copy_(torch.arange(12) // 3)
        method(score=score).remove(model, data(model, seed))
        return model.attention.q.bias[::3].long().tolist()  # type: ignore[no-any-return]

    assert kept("taylor") == [0, 3] and kept("norm") == [1, 2]
    draws = [kept("random", seed) for seed in range(6)]
    assert draws[0] == kept("random", 0) and len(set(map(tuple, draws))) > 1


@pytest.mark.parametrize("options", [{}, {"kdim": 5, "vdim": 5}, {"batch_first": False}], ids=str)
@pytest.mark.parametrize("mask", ["none", "keys", "causal", "number"])
def test_few_heads_are_called_as_the_layer_that_they_replace(options: dict[str, Any], mask: str) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, **{"batch_first": True, **options}).eval()
    if "kdim" in options:
        with pytest.raises(InputError, match="keys or values of another width"):
            attention(nn.ModuleDict({"a": layer}), (), "a")
        return
    model = nn.ModuleDict({"a": layer})
    attention(model, (), "a")
    few = model["a"]
    assert isinstance(few, FewHeads)
    tokens, others = torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    causal = torch.ones(3, 3, dtype=torch.bool).triu(1)
    masks: dict[str, Any] = {
        "none": {}, "keys": {"key_padding_mask": torch.tensor([[False, False, True]] * 3)}, "causal": {"attn_mask": causal},
        "number": {"attn_mask": torch.randn(6, 3, 3), "average_attn_weights": False},
    }  # fmt: skip
    for query, key in ((tokens, tokens), (tokens, others)):
        expected, found = layer(query, key, key, **masks[mask]), few(query, key, key, **masks[mask])
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1])
    if mask != "keys":
        one = {**masks[mask]} if mask != "number" else {}
        torch.testing.assert_close(
            few(tokens[0], tokens[0], tokens[0], **one)[0], layer(tokens[0], tokens[0], tokens[0], **one)[0]
        )
    assert few(tokens, tokens, tokens, need_weights=False)[1] is None


def test_a_stack_of_encoders_with_padding_loses_heads() -> None:
    class Stack(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)  # type: ignore[assignment]

        def forward(self, inputs: Tensor) -> Any:
            padding = torch.zeros(len(inputs), 8, dtype=torch.bool)
            padding[:, 6:] = True
            return self.head(self.layer(self.embedding(inputs[:, 0]), src_key_padding_mask=padding)[:, :6].mean(dim=1))

    torch.manual_seed(0)
    model = Stack()
    one = method(0.5)
    smaller = one.remove(model, data(model)).eval()
    (point,) = one.finish(smaller, data(model))
    assert point.surgery == {"attentions": {f"layer.layers.{n}.self_attn": {"num_heads": 2} for n in (0, 1)}}
    with torch.no_grad():
        again = load(method().replay(Stack(), point.surgery), weights_of(smaller)).eval()
        torch.testing.assert_close(again(IMAGES), smaller(IMAGES))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (lambda: own(TokenWide), "'attention' uses the number or the width of its heads elsewhere"),
        (lambda: own(Grouped), r"'attention' has layers of \[6, 6, 12\] outputs before a projection of 12 inputs"),
        (lambda: own(Tied), "'attention' shares weights with another layer"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "it has no attention"),
    ],
)  # fmt: skip
def test_a_network_whose_heads_cannot_be_removed_is_an_error_with_the_reason(
    network: Callable[[], nn.Module], why: str
) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=rf"sparsity.method heads: .*{why}.*sparsity.amount: 0"):
        method().remove(model, data(model))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
