"""Examples with named fields: the batches that a network takes, and their fingerprint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage import data
from tutelage.data import PAST_THE_END, UNKNOWN, Batch, Examples, Field, Ragged, classified, fingerprint, has_label, offsets_of
from tutelage.errors import InputError

LENGTHS = torch.tensor([2, 1, 3])


def sequences(*width: int, dtype: torch.dtype = torch.float32) -> Ragged:
    values = torch.arange(6 * (width[0] if width else 1)).view(6, *width) % 5
    return Ragged(values.to(dtype), offsets_of(LENGTHS))


def made(**changes: Any) -> Examples:
    """Three examples with a field of each kind."""
    inputs = {
        "image": Field(values=torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2), kind="image", mean=(4.0,), std=(2.0,)),
        "frames": Field(values=sequences(2), kind="frames", mean=(1.0, 2.0), std=(1.0, 4.0)),
        "words": Field(values=sequences(dtype=torch.int32), kind="tokens", names=tuple("abcde")),
    }
    targets = {
        "class": Field(values=torch.tensor([1, UNKNOWN, 0]), kind="class", names=("x", "y")),
        "tags": Field(values=sequences(dtype=torch.int64), kind="class", names=tuple("abcde")),
        "box": Field(values=torch.rand(3, 4, generator=torch.Generator().manual_seed(0)), kind="boxes"),
    }
    return Examples(**{"inputs": inputs, "targets": targets, **changes})


def test_taken_numbers_are_normalised_and_tokens_are_integers() -> None:
    batch = made().take(torch.tensor([2, 0]))
    assert len(batch) == 2
    assert torch.equal(batch.inputs["image"][1].flatten(), (torch.arange(4.0) - 4) / 2)
    stored, mask = sequences(2).take(torch.tensor([2, 0])).padded()
    assert torch.equal(batch.inputs["frames"][mask], ((stored - torch.tensor([1.0, 2.0])) / torch.tensor([1.0, 4.0]))[mask])
    assert batch.inputs["words"].dtype == torch.int64 and batch.inputs["words"].shape == (2, 3)
    assert set(batch.masks) == {"frames", "words", "tags"} and torch.equal(batch.masks["tags"], mask)


def test_ragged_targets_are_padded_with_past_the_end() -> None:
    batch = made().take(slice(0, 3))
    assert batch.targets["tags"].tolist() == [[0, 1, PAST_THE_END], [2, PAST_THE_END, PAST_THE_END], [3, 4, 0]]
    assert batch.targets["class"].tolist() == [1, UNKNOWN, 0]
    assert torch.equal(batch.targets["box"], made().targets["box"].values)  # type: ignore[arg-type]


def test_a_batchs_arguments_are_its_inputs_in_order_and_their_masks() -> None:
    batch = made().take(slice(0, 2))
    names = ["image", "frames", "frames", "words", "words"]
    kinds = [tensor.dtype == torch.bool for tensor in batch.arguments]
    assert kinds == [False, False, True, False, True] and len(names) == len(batch.arguments)
    assert batch.input_mask is batch.masks["frames"]
    assert made(inputs={"image": made().inputs["image"]}).take(slice(2)).input_mask is None


def test_labels_have_a_step_axis_for_one_step_and_for_several() -> None:
    batch = made().take(slice(0, 2))
    labels = batch.labels("class")
    assert labels is not None and labels.tolist() == [[1], [UNKNOWN]]
    assert batch.labels("tags") is batch.targets["tags"] and batch.labels("no such") is None


def test_few_examples_are_the_first_with_labelled_ones_before_others() -> None:
    labels = torch.tensor([UNKNOWN, UNKNOWN, 1, UNKNOWN, 0])
    examples = classified(torch.arange(5.0).unsqueeze(1), labels, ("a", "b"))
    for count, rows in ((1, [2]), (3, [2, 4, 0]), (9, [2, 4, 0, 1, 3])):
        assert examples.few(count).take(slice(None)).arguments[0].flatten().tolist() == rows


def test_the_head_of_examples_is_the_same_as_its_rows() -> None:
    head, rows = made().head(2).take(slice(None)), made().take(slice(2))
    assert len(made().head(2)) == 2
    for own, other in ((head.inputs, rows.inputs), (head.targets, rows.targets), (head.masks, rows.masks)):
        assert all(torch.equal(own[name], other[name]) for name in other) and own.keys() == other.keys()


def test_all_tensors_of_a_batch_move_to_the_device() -> None:
    batch = made().take(slice(2))
    mixed = replace(batch, partner_targets=batch.targets, share=torch.ones(2))
    moved = mixed.to("meta")
    assert isinstance(moved, Batch) and moved.partner_targets is not None and moved.share is not None
    tensors = [*moved.inputs.values(), *moved.targets.values(), *moved.masks.values(), *moved.partner_targets.values()]
    assert all(tensor.is_meta for tensor in [*tensors, moved.share])
    assert made().to("cpu").take(slice(2)).inputs.keys() == batch.inputs.keys()


def test_an_example_is_labelled_if_one_of_its_steps_is() -> None:
    examples = made(targets={"class": made().targets["class"]})
    assert examples.labelled.tolist() == [True, False, True] and examples.num_labelled == 2
    tags = Ragged(torch.tensor([UNKNOWN, UNKNOWN, UNKNOWN, 1, UNKNOWN, 0]), offsets_of(LENGTHS))
    tagged = Field(values=tags, kind="class", names=tuple("ab"))
    assert made(targets={"tags": tagged}).labelled.tolist() == [False, False, True]
    assert made(targets={"box": made().targets["box"]}).labelled.all(), "a box is always known"
    assert made().labels == ("class", "tags") and made().labelled.all()


def test_an_example_without_steps_lacks_no_label_and_one_of_an_unknown_step_does() -> None:
    tags = Ragged(torch.tensor([UNKNOWN, UNKNOWN, 1]), torch.tensor([0, 2, 2, 3]))
    tagged = made(targets={"tags": Field(values=tags, kind="class", names=tuple("ab"))})
    assert tagged.labelled.tolist() == [False, True, True]
    batch = tagged.take(slice(None))
    assert has_label(batch.targets["tags"], batch.masks["tags"]).tolist() == [False, True, True]


def test_a_wrong_label_of_a_sequence_is_an_error_with_its_row() -> None:
    values = Ragged(torch.tensor([0, 1, 0, 5, 1, 0]), offsets_of(LENGTHS))
    wrong = made(targets={"tags": Field(values=values, kind="class", names=tuple("abcde"))})
    with pytest.raises(InputError, match=r"the label 'tags' of row 2 .* is 5, and there are 5 classes"):
        data.checked(wrong, "validation")
    assert data.checked(made(), "train") is not None


def test_a_fields_spec_has_its_shape_type_and_steps() -> None:
    image, frames, words = made().input_specs
    assert (image.shape, image.dtype, image.is_ragged, image.typical_shape) == ((1, 2, 2), "float32", False, (1, 2, 2))
    assert (frames.shape, frames.steps, frames.typical_shape) == (("frames_steps", 2), 2, (2, 2))
    assert (words.dtype, words.shape, words.names) == ("int64", ("words_steps",), tuple("abcde"))
    assert made().lengths is not None and made().lengths.tolist() == LENGTHS.tolist()


def changed(values: Any) -> Any:
    if isinstance(values, Ragged):
        return replace(values, values=values.values + 1)
    return values + 1


CHANGES = {
    "values": lambda one: one.mapped(changed),
    "kind": lambda one: replace(one, kind="string" if one.kind != "string" else "boxes", mean=(), std=()),
    "names": lambda one: replace(one, names=(*one.names, "another")),
}
PLACES = [(role, name) for role in ("inputs", "targets") for name in getattr(made(), role)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("role", "name"), PLACES)
def test_a_fingerprint_changes_with_every_field(role: str, name: str, change: str) -> None:
    fields = {**getattr(made(), role), name: CHANGES[change](getattr(made(), role)[name])}
    assert fingerprint(made(**{role: fields})) != fingerprint(made())


def test_a_fingerprint_changes_with_normalisation_lengths_and_role() -> None:
    first, inputs, targets = fingerprint(made()), dict(made().inputs), dict(made().targets)
    image = replace(inputs["image"], mean=(5.0,))
    regrouped = Ragged(sequences(2).values, offsets_of(torch.tensor([1, 2, 3])))
    frames = replace(inputs["frames"], values=regrouped)
    renamed = {name if name != "tags" else "labels": one for name, one in targets.items()}
    words = inputs.pop("words")
    others = [
        made(inputs={**made().inputs, "image": image}),
        made(inputs={**made().inputs, "frames": frames}),
        made(targets=renamed),
        made(inputs=inputs, targets={"words": words, **targets}),
    ]
    assert len({first, *map(fingerprint, others)}) == 5


@given(st.sampled_from([torch.float32, torch.int64]))
def test_a_fingerprint_changes_with_nothing_else(dtype: torch.dtype) -> None:
    """Strides and shared memory do not change the fingerprint."""
    wide = torch.arange(24).view(6, 4).to(dtype)
    plain = Field(values=wide[:, :2].contiguous())
    examples = [Examples(inputs={"x": one}, targets={}) for one in (plain, Field(values=wide[:, :2]))]
    assert fingerprint(examples[0]) == fingerprint(examples[1])
    assert fingerprint(examples[0], examples[1]) != fingerprint(examples[0])
