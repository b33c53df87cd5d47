"""Weights that no student can start from are an error before anything is trained: which, where, why, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.plain import SENTENCES, WORDS
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.signature import InputSpec, OutputSpec, Signature
from tutelage.sweep.start_checks import start_of

NAMES = ("<unk>", *"abcdefg")
TEXT = Signature(
    inputs=(InputSpec(name="tokens", kind="tokens", dtype="int64", shape=("tokens_steps",), names=NAMES),),
    outputs=(OutputSpec(name="token", names=NAMES, steps="tokens", is_causal=True),),
)
CAUSAL = {"embedding": 8, "width": 8, "depth": 1, "heads": 2}
ENCODER = {"embedding": 8, "width": 8, "depth": 1, "heads": 2}
CASES: list[tuple[str, dict[str, Any], Signature]] = [
    ("causal_transformer", CAUSAL, TEXT), ("gru", {"embedding": 8, "hidden": 8}, TEXT), ("transformer", ENCODER, SENTENCES),
    ("bilstm", {"embedding": 8, "hidden": 8}, SENTENCES), ("text_cnn", {"embedding": 8, "width": 8}, SENTENCES),
]  # fmt: skip


def written(place: Path, model: Any, signature: Signature) -> Path:
    about = {"version": 2, "model": model, "signature": signature.document()}
    checkpoint.write(place, checkpoint.seeded(about, 0), about)
    return place


def misfit(start: Path, model: Any, signature: Signature) -> str:
    context: Any = SimpleNamespace(start=start, signature=signature)
    found = start_of(context)
    assert found is not None
    about = {"version": 2, "model": model, "signature": signature.document()}
    return found.misfit(about, checkpoint.blank(about))


@pytest.mark.parametrize(("name", "options", "signature"), CASES)
def test_a_text_student_starts_from_weights_of_its_own_size_or_a_larger_one_and_of_no_smaller_one(
    name: str, options: dict[str, Any], signature: Signature, tmp_path: Path
) -> None:  # fmt: skip
    size = "hidden" if "hidden" in options else "width"
    start = written(tmp_path / "same", {name: options}, signature)
    for place in (start, start / checkpoint.WEIGHTS):
        assert misfit(place, {name: options}, signature) == ""
        assert misfit(place, {name: {**options, size: 4}}, signature) == ""
        found = misfit(place, {name: {**options, size: 16}}, signature)  # its embeddings alone would fit
        assert f"student.weights {place}: " in found and " has the shape (" in found
        assert "Choose a student that is no larger than the network of these weights." in found


def test_weights_of_another_model_are_no_start_although_its_embeddings_fit(tmp_path: Path) -> None:
    start = written(tmp_path / "gru", {"gru": {"embedding": 8, "hidden": 8}}, TEXT)
    found = misfit(start, {"causal_transformer": CAUSAL}, TEXT)
    assert "they are of model 'gru', and the student is model 'causal_transformer'. Choose the model that they are of" in found


def test_weights_of_which_none_fits_are_no_start(tmp_path: Path) -> None:
    start = written(tmp_path / "net", {"causal_transformer": {**CAUSAL, "embedding": 4}}, TEXT) / checkpoint.WEIGHTS
    save_file({"other.weight": torch.ones(2, 2)}, start)
    assert "no weight of the student has the name of a weight in it" in misfit(start, {"causal_transformer": CAUSAL}, TEXT)


def test_more_blocks_and_a_head_of_more_classes_start_with_random_weights(tmp_path: Path) -> None:
    few = Signature(inputs=(WORDS,), outputs=(OutputSpec(name="intent", names=("a", "b")),))
    many = Signature(inputs=(WORDS,), outputs=(OutputSpec(name="intent", names=("a", "b", "c", "d", "e")),))
    start = written(tmp_path / "net", {"transformer": ENCODER}, few)
    assert misfit(start, {"transformer": {**ENCODER, "depth": 2}}, many) == ""


def test_a_file_of_a_smaller_vocabulary_is_no_start(tmp_path: Path) -> None:
    """A language model's classes are its tokens, so its head is no head of other classes."""
    names = NAMES[:5]
    (tokens,), (token,) = TEXT.inputs, TEXT.outputs
    fewer = Signature(inputs=(replace(tokens, names=names),), outputs=(replace(token, names=names),))
    start = written(tmp_path / "net", {"causal_transformer": CAUSAL}, fewer) / checkpoint.WEIGHTS
    assert "stem.table.weight has the shape (5, 8) there and (8, 8)" in misfit(start, {"causal_transformer": CAUSAL}, TEXT)


def test_a_file_of_a_larger_vocabulary_is_no_start_because_it_does_not_name_its_tokens(tmp_path: Path) -> None:
    names = (*NAMES, "h", "i")
    (tokens,), (token,) = TEXT.inputs, TEXT.outputs
    more = Signature(inputs=(replace(tokens, names=names),), outputs=(replace(token, names=names),))
    start = written(tmp_path / "net", {"causal_transformer": CAUSAL}, more) / checkpoint.WEIGHTS
    found = misfit(start, {"causal_transformer": CAUSAL}, TEXT)
    assert (
        "stem.table.weight has 10 tokens there and 8 in the data, and the file does not say which. Give the directory" in found
    )


def test_no_checkpoint_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pt")
    for name, why in {"missing": "No such file", "empty": "No such file", "net.pt": "header"}.items():
        with pytest.raises(InputError, match=rf"student.weights: .*{name}.*{why}.* Give a .safetensors file, or a directory"):
            start_of(SimpleNamespace(start=tmp_path / name, signature=TEXT))  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_no_start(tmp_path: Path) -> None:
    start = written(tmp_path / "net", {"causal_transformer": CAUSAL}, TEXT)
    weights = load_file(start / checkpoint.WEIGHTS)
    save_file({**weights, "norm.bias": weights["norm.bias"] * torch.nan}, start / checkpoint.WEIGHTS)
    with pytest.raises(InputError, match=r"student.weights .*net: norm.bias has values that are not finite"):
        start_of(SimpleNamespace(start=start, signature=TEXT))  # type: ignore[arg-type]
