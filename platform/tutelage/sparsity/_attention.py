"""Whole attention heads, physically removed: their queries, keys and values, and the columns that read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.networks import forward, weights
from tutelage.sparsity._few_heads import FewHeads
from tutelage.sparsity._readers import Unremovable

COUNTS = ("num_heads", "heads", "n_heads", "n_head", "nhead", "num_attention_heads")  # attributes that hold a number of heads
LAYOUTS = ("parts", "heads")  # row order of a fused layer: all queries, all keys, all values; or head by head
Compare = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The attention `name` of a network: the layers of its queries, keys and values (one fused or three), and its projection.

    `count` is the attribute that holds the number of heads.
    """

    name: str
    module: nn.Module
    count: str
    inputs: tuple[nn.Linear, ...]
    projection: nn.Linear

    @property
    def num_heads(self) -> int:
        """The number of heads."""
        found: int = getattr(self.module, self.count)
        return found

    def columns(self, tensor: Tensor) -> Tensor:
        """Return a tensor like the projection's weight by head, `[heads, n]`."""
        by_head: Tensor = tensor.view(len(tensor), self.num_heads, -1).transpose(0, 1)
        return by_head.flatten(1)

    def squares(self, layout: str = "parts") -> Tensor:
        """Return the sum of the squares of all weights of each head, `[heads]`."""
        total = self.columns(self.projection.weight.detach()).square().sum(dim=1)
        for layer in self.inputs:
            for tensor in (layer.weight, layer.bias):
                if tensor is not None:
                    by_head = self._by_head(tensor.detach(), layout)
                    total = total + by_head.square().flatten(1).sum(dim=1)
        return total.cpu()

    def _by_head(self, tensor: Tensor, layout: str) -> Tensor:
        """Return rows of the inputs by head, `[heads, parts, rows, …]`."""
        parts, heads = 3 // len(self.inputs), self.num_heads
        first = (parts, heads, -1) if layout == "parts" else (heads, parts, -1)
        rows: Tensor = tensor.view(*first[:2], -1, *tensor.shape[1:])
        return rows.transpose(0, 1) if layout == "parts" else rows

    def remove(self, kept: Tensor, layout: str) -> None:
        """Keep only the heads `kept` (sorted), in place; the attributes of the module are unchanged."""
        for layer in self.inputs:
            for name in ("weight", "bias"):
                if (tensor := getattr(layer, name)) is not None:
                    own = self._by_head(tensor.detach(), layout)[kept.to(tensor.device)]
                    rows = own.transpose(0, 1) if layout == "parts" else own
                    setattr(layer, name, _parameter(rows.flatten(0, 2), tensor))
            layer.out_features = len(layer.weight)
        weight = self.projection.weight
        left = weight.detach().view(len(weight), self.num_heads, -1)[:, kept.to(weight.device)].flatten(1)
        self.projection.weight, self.projection.in_features = _parameter(left, weight), left.shape[1]


def _parameter(tensor: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=like.requires_grad)


def candidates(model: nn.Module) -> Iterator[str]:
    """Yield the names of the modules that may be an attention."""
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention | FewHeads) or (_count_of(module) and _linears(module)):
            yield name


def attention(model: nn.Module, arguments: tuple[Tensor, ...], name: str) -> Attention:
    """Return the attention `name` of a network. Raises `Unremovable` for any other module."""
    module = model.get_submodule(name)
    if isinstance(module, nn.MultiheadAttention):
        module = _as_few_heads(model, name, module)
    shared = weights.shared_names(model)
    tied = {one.rpartition(".")[0] for one in {*shared, *shared.values()}}
    if isinstance(module, FewHeads):
        one = Attention(
            name=name, module=module, count="num_heads", inputs=(module.in_projection,), projection=module.out_proj
        )  # fmt: skip
    else:
        one = _custom(model, arguments, name, module)
    if any(path in tied for path, layer in model.named_modules() if layer in (*one.inputs, one.projection)):
        raise Unremovable("shares weights with another layer")
    return one


def _custom(model: nn.Module, arguments: tuple[Tensor, ...], name: str, module: nn.Module) -> Attention:
    """Return a user's attention, identified by its linear layers: the one that is called last is the projection."""
    count, called = _count_of(module), list[nn.Linear]()
    hooks = [one.register_forward_hook(lambda layer, *_: called.append(layer)) for one in _linears(module)]
    try:
        forward.run(model, arguments)
    finally:
        for hook in hooks:
            hook.remove()
    layers = tuple(dict.fromkeys(called))
    *inputs, projection = layers or (None,)
    num_heads = getattr(module, count) if count else 0
    if not inputs or projection is None or len(layers) != len(called):
        raise Unremovable("has no layers of queries, keys and values and a projection that are each called once")
    inner, rows = projection.in_features, [layer.out_features for layer in inputs]
    if not count or inner % num_heads or rows not in ([3 * inner], [inner] * 3):
        raise Unremovable(f"has layers of {rows} outputs before a projection of {inner} inputs, with {count} {num_heads}")
    return Attention(name=name, module=module, count=count, inputs=tuple(inputs), projection=projection)


def _count_of(module: nn.Module) -> str:
    """Return the attribute that holds a module's number of heads, "" if there is none."""
    return next((name for name in COUNTS if type(vars(module).get(name)) is int and vars(module)[name] > 0), "")


def _linears(module: nn.Module) -> list[nn.Linear]:
    return [one for one in module.modules() if isinstance(one, nn.Linear)]


def remove_heads(one: Attention, kept: Tensor, is_same: Compare) -> dict[str, int]:
    """Keep only the heads `kept`, in place; return the attributes of the module that changed, with their values.

    The rows of a fused layer may be ordered by part or by head, and further attributes may hold the width. The first
    combination for which `is_same` returns True is used. If there is none, the attention is unchanged, and `Unremovable` is
    raised.
    """
    layers = (*one.inputs, one.projection)
    before = [(layer, dict(layer._parameters), layer.in_features, layer.out_features) for layer in layers]
    inner, left, attributes = one.projection.in_features, len(kept), dict(vars(one.module))
    width = inner // one.num_heads * left
    sized = {name: width for name, value in attributes.items() if type(value) is int and value == inner and name != one.count}
    for layout in LAYOUTS if len(one.inputs) == 1 else ("parts",):
        for also in ({}, sized):
            one.remove(kept, layout)
            changed = {one.count: left, **also}
            for name, value in changed.items():
                setattr(one.module, name, value)
            if is_same():
                return changed
            for layer, parameters, fan_in, fan_out in before:
                layer._parameters.update(parameters)
                layer.in_features, layer.out_features = fan_in, fan_out
            for name in changed:
                setattr(one.module, name, attributes[name])
    raise Unremovable(
        "uses the number or the width of its heads elsewhere. Split the outputs of its layers by attributes for "
        "both, as in view(batch, positions, 3, self.heads, self.head_width)"
    )


def _as_few_heads(model: nn.Module, name: str, module: nn.MultiheadAttention) -> FewHeads:
    """Return the same attention as a module that can lose heads, put into the network."""
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise Unremovable("has keys or values of another width than its queries, or adds keys (bias_k, add_zero_attn)")
    few = FewHeads(module, module.num_heads).train(module.training)
    few.in_projection.weight, few.out_proj.weight = module.in_proj_weight, module.out_proj.weight
    if module.in_proj_bias is not None:
        few.in_projection.bias, few.out_proj.bias = nn.Parameter(module.in_proj_bias), module.out_proj.bias
    _put(model, name, few)
    return few


def replay(model: nn.Module, changes: Mapping[str, Mapping[str, int]]) -> nn.Module:
    """Return `model` with attentions whose attributes have these values; its layers are cut when its weights are loaded."""
    for name, attributes in changes.items():
        module = model.get_submodule(name)
        if isinstance(module, nn.MultiheadAttention):
            _put(model, name, FewHeads(module, attributes["num_heads"]))
            continue
        for attribute, value in attributes.items():
            if type(vars(module).get(attribute)) is not int:
                raise InputError(f"sparsity.method heads: '{name}' has no whole number '{attribute}'.")
            setattr(module, attribute, int(value))
    return model


def _put(model: nn.Module, name: str, module: FewHeads) -> None:
    model.set_submodule(name, module)
    for parent in model.modules():
        if isinstance(parent, nn.TransformerEncoder):
            parent.use_nested_tensor = False  # its path for nested tensors reads the weights of nn.MultiheadAttention
