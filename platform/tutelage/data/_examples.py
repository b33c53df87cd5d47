"""Examples with named fields, and the batches that networks and losses take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_low

import torch
from torch import Tensor

from tutelage.data._ragged import Ragged
from tutelage.signature import Column, Dtype, InputSpec, Kind

UNKNOWN = -1  # the class index of an unlabelled example or step
PAST_THE_END = -1  # the padding of a ragged target
NORMALISED: tuple[Kind, ...] = ("image", "frames", "vector")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One named field of examples: stored numbers, dense `[n, …]` or ragged, and their kind.

    `names` are the classes of a `class` field, or the vocabulary of tokens. `mean` and `std` normalise images, frames and
    vectors: one value a channel (axis 1 of dense values, axis 1 of a ragged field's values), in stored units. If they are
    empty, a network takes the stored numbers. `columns` are those of the table that a vector field is made of. `document_start`
    is the token at which another document begins in a row of several. Dense values may be memory-mapped. `seen_with` has, by
    the name of another target, booleans `[its classes, classes]`: whether a training example of its class has this field's.
    """

    values: Tensor | Ragged
    kind: Kind = "vector"
    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    columns: tuple[Column, ...] = ()
    document_start: int | None = None
    seen_with: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.mean) == len(self.std) and len(self.mean) in (0, self.num_channels)
        assert all(spread > 0 for spread in self.std)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def _numbers(self) -> Tensor:
        return self.values.values if isinstance(self.values, Ragged) else self.values

    @property
    def num_channels(self) -> int:
        """The number of means that normalise the field: the size of axis 1; 0 for one number an example."""
        return self._numbers.shape[1] if self._numbers.ndim > 1 else 0

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of one example; of ragged examples, that of a step."""
        return tuple(self._numbers.shape[1:])

    @property
    def is_ragged(self) -> bool:
        """Whether examples differ in length."""
        return isinstance(self.values, Ragged)

    @property
    def is_labelled(self) -> Tensor:
        """Booleans `[n]`, True for examples with a label at one step at least, or without steps, as an image without objects.

        Only fields of kind `class` can lack labels.
        """
        if self.kind != "class":
            return torch.ones(len(self), dtype=torch.bool)
        if isinstance(self.values, Ragged):
            return has_label(*self.values.padded(UNKNOWN))
        return has_label(self.values)

    def mapped(self, change: Callable[[Tensor | Ragged], Tensor | Ragged]) -> Field:
        """Return the field with its values replaced by `change(values)`."""
        return replace(self, values=change(self.values))

    def take(self, rows: Tensor | slice, fill: float = 0) -> tuple[Tensor, Tensor | None]:
        """Return the stored numbers of `rows` and the mask of real steps. Ragged values are padded; dense ones have no mask."""
        if isinstance(self.values, Ragged):
            return self.values.take(rows).padded(fill)
        return self.values[rows], None

    def normalised(self, stored: Tensor) -> Tensor:
        """Return stored numbers `[rows, …]` as a network takes them: normalised float32, or int64 for tokens and classes."""
        if self.kind not in NORMALISED:
            return stored.long() if self.kind in ("tokens", "class", "string") else stored
        if not self.mean:
            return stored.float()
        axis = 2 if self.is_ragged else 1
        shape = (1,) * axis + (-1,) + (1,) * (stored.ndim - axis - 1)
        dtype = torch.float64 if stored.dtype == torch.float64 else torch.float32
        shift = torch.tensor(self.mean, dtype=dtype, device=stored.device).view(shape)
        scale = torch.tensor(self.std, dtype=dtype, device=stored.device).view(shape)
        return stored.to(dtype, copy=True).sub_(shift).div_(scale).float()

    def spec(self, name: str) -> InputSpec:
        """Return the input of a network that takes this field under `name`."""
        dtype: Dtype = "float32" if self.kind in NORMALISED else "int64"
        shape: tuple[int | str, ...] = self.stored_shape
        steps = 1
        if isinstance(self.values, Ragged):
            shape, steps = (f"{name}_steps", *shape), max(1, median_low(self.values.lengths.tolist()))
        return InputSpec(
            name=name, kind=self.kind, dtype=dtype, shape=shape, steps=steps, names=self.names, mean=self.mean, std=self.std,
            columns=self.columns, document_start=self.document_start,
        )  # fmt: skip


def has_label(labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return booleans `[batch]`, True for examples with a label at one step at least; `labels` are `[batch]` or `[batch, …]`.

    An example without steps, whose `mask` `[batch, steps]` is False everywhere, lacks no label.
    """
    found = (labels.unsqueeze(1) if labels.ndim == 1 else labels).flatten(1) != UNKNOWN
    return found.any(dim=1) if mask is None else (found & mask).any(dim=1) | ~mask.any(dim=1)


_FAR, _WIDER = 5.0, 10.0  # deviations between two means, and the ratio of two deviations, that another unit explains


def unlike(spec: InputSpec, own: Field) -> list[str]:
    """Return a sentence for each channel of a field whose mean or deviation is far from that of a network's input."""
    names = [column.name for column in spec.columns for _ in range(column.width)]
    found = []
    for place, (mean, std, own_mean, own_std) in enumerate(zip(spec.mean, spec.std, own.mean, own.std, strict=False)):
        if abs(own_mean - mean) > _FAR * std or not 1 / _WIDER < own_std / std < _WIDER:
            what = f"column '{names[place]}'" if names else f"channel {place}"
            found.append(
                f"{what} has mean {own_mean:.4g} and deviation {own_std:.4g} in these data, and {mean:.4g} and {std:.4g} in "
                "the network's training: are they in another unit?"
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples as a network takes them, by field: `inputs` and `targets` `[batch, …]`, ragged fields padded.

    `masks` has `[batch, steps]`, True at real steps, for every ragged field. In a mixed batch (mixup, CutMix) `share` `[batch]`
    is the share of the example itself; the rest belongs to its partner, whose targets are `partner_targets`. `names` are the
    classes of the targets of kind `class`, and `seen_with` their `Field.seen_with`.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    partner_targets: Mapping[str, Tensor] | None = None
    share: Tensor | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seen_with: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """The arguments of a network: the inputs in order, each ragged one followed by its mask."""
        found: list[Tensor] = []
        for name, tensor in self.inputs.items():
            found += [tensor, self.masks[name]] if name in self.masks else [tensor]
        return tuple(found)

    @property
    def input_mask(self) -> Tensor | None:
        """The mask of the first ragged input; None if all inputs are dense."""
        return next((self.masks[name] for name in self.inputs if name in self.masks), None)

    @property
    def words(self) -> Tensor:
        """The tokens `[batch, steps]` of the first input; where the data spell words, without their characters."""
        tokens = next(iter(self.inputs.values()))
        return tokens if tokens.ndim == 2 else tokens[..., 0]

    def labels(self, name: str) -> Tensor | None:
        """Return the labels `[batch, steps]` of the label sequence `name`; None if no target has that name."""
        target = self.targets.get(name)
        return target.unsqueeze(1) if target is not None and target.ndim == 1 else target

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return Batch(
            inputs=moved(self.inputs), targets=moved(self.targets), masks=moved(self.masks),
            partner_targets=None if self.partner_targets is None else moved(self.partner_targets),
            share=None if self.share is None else self.share.to(device), names=self.names,
            seen_with={name: moved(pairs) for name, pairs in self.seen_with.items()},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The examples of one split by named fields: `inputs` in the order of a network's arguments, and `targets`.

    The labels of a label sequence are the target of the same name, one label a step. Labels of the training split may be
    `UNKNOWN`. Validation and test are fully labelled, because measures need the labels. `notes` are sentences on what a source
    inferred from the files, for the plan and the start of a sweep.
    """

    inputs: Mapping[str, Field]
    targets: Mapping[str, Field]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.inputs and not set(self.inputs) & set(self.targets)
        assert len({len(one) for one in self._fields().values()}) == 1

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def _fields(self) -> dict[str, Field]:
        return {**self.inputs, **self.targets}

    @property
    def labelled(self) -> Tensor:
        """Booleans `[n]`, True for examples with a label at one step at least, or none to have."""
        found = torch.zeros(len(self), dtype=torch.bool)
        for name in self.labels:
            found |= self.targets[name].is_labelled.cpu()
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the targets that say which examples are labelled: all, but not boxes beside classes."""
        has_classes = any(target.kind == "class" for target in self.targets.values())
        return tuple(name for name, target in self.targets.items() if target.kind != "boxes" or not has_classes)

    @property
    def num_labelled(self) -> int:
        """The number of examples with a label at one step at least."""
        return int(self.labelled.sum())

    @property
    def input_specs(self) -> tuple[InputSpec, ...]:
        """The inputs of a network that takes these examples, in order."""
        return tuple(one.spec(name) for name, one in self.inputs.items())

    @property
    def lengths(self) -> Tensor | None:
        """The lengths `[n]` of the first ragged input; None if all inputs are dense."""
        return next((one.values.lengths for one in self.inputs.values() if isinstance(one.values, Ragged)), None)

    def take(self, rows: Tensor | slice) -> Batch:
        """Return the examples of `rows` as a network takes them."""
        inputs, masks = {}, {}
        for name, one in self.inputs.items():
            stored, mask = one.take(rows)
            inputs[name] = one.normalised(stored)
            if mask is not None:
                masks[name] = mask
        targets, target_masks = self.take_targets(rows)
        return Batch(
            inputs=inputs, targets=targets, masks={**masks, **target_masks}, names=self.target_names,
            seen_with=self.target_pairs,
        )  # fmt: skip

    @property
    def target_names(self) -> dict[str, tuple[str, ...]]:
        """The classes of every target that has any, by name."""
        return {name: one.names for name, one in self.targets.items() if one.names}

    @property
    def target_pairs(self) -> dict[str, Mapping[str, Tensor]]:
        """The classes that training has together, by target and other target (`Field.seen_with`)."""
        return {name: one.seen_with for name, one in self.targets.items() if one.seen_with}

    def take_targets(self, rows: Tensor | slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the targets of `rows`, padded with `PAST_THE_END`, and the masks of the ragged ones, by name."""
        found = {name: one.take(rows, PAST_THE_END) for name, one in self.targets.items()}
        targets = {name: self.targets[name].normalised(stored) for name, (stored, _) in found.items()}
        return targets, {name: mask for name, (_, mask) in found.items() if mask is not None}

    def normalised_as(self, inputs: Sequence[InputSpec]) -> Examples:
        """Return the examples normalised by the mean and deviation of a network's `inputs`, where these have the same channels.

        The notes name channels whose own mean or deviation is far from the network's, as in another unit.
        """
        if len(inputs) != len(self.inputs):
            return self
        changed, notes = {}, list(self.notes)
        for spec, (name, own) in zip(inputs, self.inputs.items(), strict=True):
            is_alike = own.kind in NORMALISED and len(spec.mean) in (0, own.num_channels)
            changed[name] = replace(own, mean=spec.mean, std=spec.std) if is_alike else own
            notes += unlike(spec, own) if is_alike else ()
        return replace(self, inputs=changed, notes=tuple(notes))

    def to(self, device: torch.device | str) -> Examples:
        """Return the examples with their tensors on `device`."""
        return self._mapped(lambda values: values.to(device))

    def head(self, count: int) -> Examples:
        """Return the first `count` examples."""
        return self.subset(slice(0, count))

    def few(self, count: int) -> Examples:
        """Return `count` examples for a trial of something: the first labelled ones, then the first of the others.

        So a training that needs labels has some, however few of all examples are labelled.
        """
        return self.subset((~self.labelled).int().argsort(stable=True)[:count])

    def subset(self, rows: Tensor | slice) -> Examples:
        """Return the examples `rows`."""
        return self._mapped(lambda values: values.take(rows) if isinstance(values, Ragged) else values[rows])

    def _mapped(self, change: Callable[[Tensor | Ragged], Tensor | Ragged]) -> Examples:
        return Examples(
            inputs={name: one.mapped(change) for name, one in self.inputs.items()},
            targets={name: one.mapped(change) for name, one in self.targets.items()},
            notes=self.notes,
        )


def classified(
    inputs: Tensor, labels: Tensor, class_names: tuple[str, ...], *, kind: Kind | None = None,
    mean: tuple[float, ...] = (), std: tuple[float, ...] = (),
) -> Examples:  # fmt: skip
    """Return examples with one input, `inputs` `[n, …]`, and one class each, `labels` int64 `[n]`.

    By default, `kind` is image for inputs `[n, channels, height, width]` and vector for others.
    """
    assert inputs.dtype in (torch.float32, torch.float64, torch.uint8) and labels.dtype == torch.int64 and labels.ndim == 1
    kind = kind or ("image" if inputs.ndim == 4 else "vector")
    return Examples(
        inputs={"inputs": Field(values=inputs, kind=kind, mean=mean, std=std)},
        targets={"class": Field(values=labels, kind="class", names=class_names)},
    )
