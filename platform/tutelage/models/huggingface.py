"""A pretrained network of a Hugging Face directory (config, safetensors, tokenizer), with heads for our words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tutelage.errors import InputError, first_names, nearest
from tutelage.models import _hf_directory as hf
from tutelage.models import heads, keep_width, over_steps
from tutelage.models._hf_pieces import NOT_EXPORTED, Pieces, Splitter, word_shares
from tutelage.models._tokens import token_input
from tutelage.plugins import PluginConfig
from tutelage.signature import OutputSpec, Signature

SPACE: dict[str, dict[str, object]] = {}
SHORTER = "Cut texts by the options 'longest' and 'longer: truncate' of the data, windows of characters by 'length'."
_CLASSIFIERS = {True: "AutoModelForTokenClassification", False: "AutoModelForSequenceClassification"}  # by: has it steps


class Config(PluginConfig):
    """The directory, and how the features of words and the logits are computed."""

    path: str | None = Field(None, description="a directory with config.json, .safetensors files and tokenizer.json")
    package: str | None = Field(None, description="an installed package with such a directory, in place of `path`")
    word: Literal["mean", "first"] = Field(
        "mean", description="features of a word: the mean over its pieces, or its first piece's"
    )
    head: Literal["new", "own"] = Field(
        "new",
        description="new: an untrained layer for each label sequence; own: the directory's classifier, whose labels "
        "(id2label) must have the names of the classes, or a language model's logits of its pieces",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of features set to 0 in training before new heads")


def fingerprint(config: Config) -> str:
    """Return a hash of the files from which the network is built: the same path may hold another network tomorrow."""
    return hf.digest_of(hf.directory_of(config.path, config.package))


def is_trained(config: Config) -> bool:
    """Return whether the network is built with trained heads, so that it can be a teacher without any training."""
    return config.head == "own"


class Words(nn.Module):
    """Features of words `[batch, steps, channels]` from those of pieces; losses compare its output as that of a stage."""

    def forward(self, features: Tensor, shares: Tensor) -> Tensor:
        """Return the weighted mean of the pieces' features `[batch, pieces, channels]` by `shares` `[batch, steps, pieces]`."""
        return shares @ features


class Pretrained(nn.Module):
    """The network of the directory over the pieces of a text, its layers as stages of features of words, and heads.

    Its `stage1`, `stage2`, … have no weights of their own: they are the layers' features as our examples have positions.
    """

    def __init__(self, body: nn.Module, splitter: Splitter, config: Config, head: nn.Module, longest: int | None) -> None:
        super().__init__()
        self.splitter, self.body, self.head, self.dropout = splitter, body, head, nn.Dropout(config.dropout)
        for module in body.modules():
            keep_width(module)  # its norms are over channels, and its attention splits them into heads
        self.is_mean, self.longest = config.word == "mean", longest
        self.depth = int(body.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        for number in range(1, self.depth + 1):
            self.add_module(f"stage{number}", Words())

    def forward(self, tokens: Tensor, mask: Tensor) -> Any:
        """Return the logits of every label sequence, from tokens as `Splitter` takes them."""
        pieces = self.splitter(tokens, mask)
        found = self._run(pieces)
        shares = word_shares(pieces, mask.shape[1], found.hidden_states[-1].dtype, is_mean=self.is_mean)
        for number in range(1, self.depth + 1):
            features = self.get_submodule(f"stage{number}")(found.hidden_states[number], shares)
        if isinstance(self.head, OwnLogits):
            return self.head(found.logits, shares)
        return over_steps(self.head, self.dropout(features), mask)

    def check_examples(self, split: str, examples: Any) -> None:
        """Raise `InputError` for a split with a text of more pieces than the network takes."""
        (field,) = examples.inputs.values()
        pieces = self.splitter.num_pieces(field.values.values)
        totals = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
        counts = totals[field.values.offsets].diff() + self.splitter.num_around
        longest = self.longest or int(counts.max())
        if len(long := (counts > longest).nonzero().flatten()):
            raise InputError(
                f"model 'huggingface': {len(long):,} of {len(counts):,} {split} texts have more pieces than the {longest:,} "
                f"that the network takes; number {int(long[0])} (the first is 0) has {int(counts[long[0]]):,}. {SHORTER}"
            )

    @property
    def why_not_exported(self) -> str:
        """Why no program of this network can be exported, so that it cannot be a student; "" if one can."""
        return NOT_EXPORTED if self.splitter.is_spelled else ""

    def _run(self, pieces: Pieces) -> Any:
        """Return what the directory's network computes. Raises `InputError` for a text of more pieces than it takes."""
        count = pieces.indices.shape[1]
        if self.longest is not None and count > self.longest and not torch.compiler.is_compiling():
            raise InputError(f"model 'huggingface': a text has {count:,} pieces, the network takes {self.longest:,}. {SHORTER}")
        mask = None if pieces.mask.is_meta else pieces.mask.long()  # transformers reads the numbers of a mask
        return self.body(input_ids=pieces.indices, attention_mask=mask, output_hidden_states=True, return_dict=True)


class OwnLogits(nn.Module):
    """The logits of the directory's own head, reduced to our classes by their columns."""

    def __init__(self, name: str, columns: Sequence[int], *, is_stepped: bool) -> None:
        super().__init__()
        self.name, self.is_stepped = name, is_stepped
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, logits: Tensor, shares: Tensor) -> Tensor | dict[str, Tensor]:
        """Return `[batch, classes]`, or by the sequence's name the words' `[batch, steps, classes]`."""
        chosen = logits[..., self.get_buffer("columns")]
        return {self.name: shares @ chosen} if self.is_stepped else chosen


def build(config: Config, signature: Signature) -> nn.Module:
    """Return the network with pretrained weights; on the meta device, where it is only sized, with none.

    Raises `InputError` for a directory that cannot be read, a tokenizer of another vocabulary, a label sequence that must be
    causal and a network that is not, classes that its own head lacks, and a causal classifier without a piece of padding.
    """
    directory = hf.directory_of(config.path, config.package)
    about = hf.configuration(directory)
    spec = token_input("huggingface", signature, is_causal=not hf.reads_later_pieces(about))
    pieces = hf.tokenizer(directory, about.get_text_config().vocab_size)
    splitter = Splitter(pieces, spec, padding=about.pad_token_id or 0)
    if config.head == "new":
        body = hf.network(directory, about)
        return Pretrained(body, splitter, config, heads(about.hidden_size, signature), hf.longest(body))
    output = _only(signature.outputs)
    columns = _of_pieces(output, splitter) if output.is_causal else _of_labels(output, directory)
    head = OwnLogits(output.name, columns, is_stepped=bool(output.steps))
    body = hf.network(directory, about, _with_head(output, directory, about))
    return Pretrained(body, splitter, config, head, hf.longest(body))


def _with_head(output: OutputSpec, directory: Path, about: Any) -> str:
    """Return transformers' class of the network with its own head. Raises `InputError` for one that reads no batches."""
    if output.is_causal:
        return "AutoModelForCausalLM"
    if not output.steps and about.pad_token_id is None and not hf.reads_later_pieces(about):
        raise InputError(
            f"{directory / 'config.json'}: has no pad_token_id, by which a causal classifier finds the last piece of a text. "
            "Add it, or set head: new."
        )
    return _CLASSIFIERS[bool(output.steps)]


def _only(outputs: Sequence[OutputSpec]) -> OutputSpec:
    """Return the only label sequence. Raises `InputError` for several, because the directory's head has one."""
    output, *others = outputs
    if others:
        listed = ", ".join(one.name for one in outputs)
        raise InputError(f"model 'huggingface': its own head has one label sequence, the task needs {listed}. Set head: new.")
    return output


def _of_labels(output: OutputSpec, directory: Path) -> list[int]:
    """Return the column of each class in the logits of the directory's classifier."""
    labels = hf.labels_of(directory)
    if missing := [name for name in output.names if name not in labels]:
        raise InputError(
            f"{directory / 'config.json'}: id2label lacks the classes {first_names(missing, hf.SHOWN)}."
            f"{nearest(missing[0], labels)} Rename its labels to the classes of the data, or set head: new, which is trained."
        )
    return [labels.index(name) for name in output.names]


def _of_pieces(output: OutputSpec, splitter: Splitter) -> list[int]:
    """Return the piece of each class, a token of our vocabulary. Raises `InputError` for classes that are not a piece each."""
    several = [name for name, pieces in zip(output.names, splitter.split, strict=True) if len(pieces) > 1]
    columns = [pieces[0] for pieces in splitter.split]
    if several or len(set(columns)) < len(columns):
        counts = Counter(columns)
        alike = [repr(name) for name, one in zip(output.names, columns, strict=True) if counts[one] > 1]
        shown = f"{several[0]!r} is several" if several else f"{', '.join(alike[: hf.SHOWN])} are the same or unknown"
        raise InputError(
            f"model 'huggingface': its own head gives probabilities of pieces, and the classes are not one piece each "
            f"({shown}). Set head: new, which is trained on the classes."
        )
    return columns
