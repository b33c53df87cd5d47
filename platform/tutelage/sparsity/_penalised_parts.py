"""Attention heads and residual blocks under group penalties: their terms, and the removal of those that became zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.sparsity._attention import replay
from tutelage.sparsity._blocks import block_terms, remove_blocks
from tutelage.sparsity._by_layer import value_for
from tutelage.sparsity._coupled import CoupledGroup
from tutelage.sparsity._head_terms import head_terms
from tutelage.sparsity.heads import keep_heads


class PenalisedParts:
    """The heads and blocks of one training; `heads` and `blocks` are the strengths of their penalties, 0 for none."""

    def __init__(self, heads: float, blocks: float) -> None:
        self._heads, self._blocks = heads, blocks
        self._whole_heads, self._changes = dict[str, int](), dict[str, dict[str, int]]()
        self._whole_blocks, self._gone = 0, list[str]()

    @property
    def are_penalised(self) -> bool:
        """Whether there is any such penalty."""
        return bool(self._heads or self._blocks)

    @property
    def description(self) -> str:
        """The parts that were removed beside channels, in words; "" without such a penalty."""
        names = [word for word, strength in (("heads", self._heads), ("blocks", self._blocks)) if strength]
        gone = f" (gone: {', '.join(self._gone)})" if self._gone else ""
        return f", {' and '.join(names)}{gone}" if names else ""

    def terms(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> Iterator[tuple[CoupledGroup, Tensor]]:
        """Yield each group with the decrease of its norms over the training.

        Raises `InputError` for a network without attention or without residual blocks.
        """
        for group in self._head_terms(model, arguments).values():
            yield group, self._heads * group.norms(model).mean()
        for group in self._block_terms(model, arguments).values():
            yield group, self._blocks * group.norms(model).mean()

    def _head_terms(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> dict[str, CoupledGroup]:
        if not self._heads:
            return {}
        found, reasons = head_terms(model, arguments)
        if not found:
            why = "; ".join(f"'{name}' {reason}" for name, reason in reasons.items()) or "it has no attention"
            raise InputError(f"sparsity.method spr: no heads of this network can be penalised: {why}. Set heads: 0.")
        return found

    def _block_terms(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> dict[str, CoupledGroup]:
        if not self._blocks:
            return {}
        found = block_terms(model, arguments)
        if not found and not self._gone:
            raise InputError(
                "sparsity.method spr: no block of this network can be penalised: none returns its input when its weights are "
                "zero. A residual block does so if it keeps the shape and no norm follows its sum. Set blocks: 0."
            )
        return found

    def names(self, model: nn.Module, arguments: tuple[Tensor, ...]) -> list[set[str]]:
        """Return the names of the attentions with a penalty, each by itself."""
        return [{name} for name in self._head_terms(model, arguments)]

    def cut(
        self, model: nn.Module, arguments: tuple[Tensor, ...], amount: float, amounts: Mapping[str, float],
        thresholds: Mapping[str, float], threshold: float | None,
    ) -> nn.Module:  # fmt: skip
        """Return `model` without its weak heads and blocks, at most the share `amount` of each; it is changed in place.

        A head is removed if its norm is zero or below its threshold, a multiple of the mean norm in its attention. A block is
        removed if its weights are zero. Every attention keeps a head. `amounts` has the shares of single attentions.
        """
        scores = {name: group.norms(model).cpu() for name, group in self._head_terms(model, arguments).items()}
        kept = {}
        for name, norms in scores.items():
            whole = self._whole_heads.setdefault(name, len(norms))
            limit = value_for(thresholds, [name], threshold) or 0.0
            weak = int(((norms == 0) | (norms < limit * norms.mean())).sum())
            share = value_for(amounts, [name], amount) or 0.0
            allowed = int(share * whole) - (whole - len(norms))
            if (gone := min(weak, allowed, len(norms) - 1)) > 0:
                kept[name] = len(norms) - gone
        self._changes |= keep_heads(model, arguments, scores, kept)[0]
        return self._without_blocks(model, arguments, amount)

    def _without_blocks(self, model: nn.Module, arguments: tuple[Tensor, ...], amount: float) -> nn.Module:
        terms = self._block_terms(model, arguments)
        self._whole_blocks = self._whole_blocks or len(terms)
        allowed = max(0, int(amount * self._whole_blocks) - len(self._gone))
        zero = [name for name, group in terms.items() if not torch.any(group.norms(model))]
        self._gone = [*self._gone, *zero[:allowed]]
        return remove_blocks(model, zero[:allowed])

    def surgery(self) -> dict[str, Any] | None:
        """Return what `replayed` needs; None if nothing was removed."""
        return {"attentions": self._changes, "blocks": self._gone} if self._changes or self._gone else None

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        counts = {"whole_heads": self._whole_heads, "whole_blocks": self._whole_blocks}
        return {"attentions": self._changes, "blocks": list(self._gone), **counts}

    def restore(self, model: nn.Module, state: Mapping[str, Any]) -> nn.Module:
        """Return `model` without the heads and blocks that were removed before `state` was saved."""
        self._changes, self._gone = dict(state["attentions"]), list(state["blocks"])
        self._whole_heads, self._whole_blocks = dict(state["whole_heads"]), int(state["whole_blocks"])
        return replayed(model, state)


def replayed(model: nn.Module, surgery: Mapping[str, Any]) -> nn.Module:
    """Return an untrained `model` without these heads and blocks; its layers are cut when its weights are loaded."""
    attentions = {name: own for name, own in surgery["attentions"].items() if not _within(name, surgery["blocks"])}
    return remove_blocks(replay(model, attentions), surgery["blocks"])


def _within(name: str, blocks: list[str]) -> bool:
    return any(name == block or name.startswith(f"{block}.") for block in blocks)
