"""One contract for each family, checked for every file in it: a new plugin is tested before it has its own test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests import own_tests, sparse_models
from tests.plain import examples_for, models_for, plain_signature, signature_for
from tests.sparse_models import fitting, small
from tutelage import data, plugins
from tutelage.data import SPLITS, UNKNOWN, Examples, classified
from tutelage.errors import InputError
from tutelage.losses import needs_of
from tutelage.masks import stride_between
from tutelage.networks import cost, top_k
from tutelage.networks.output import Need, Outline, Output, Stage
from tutelage.sparsity import Calibration, Method, Point
from tutelage.spec import distributions, space
from tutelage.tasks import by_sequence

EVERY = [  # tests of plugins that take seconds to import are slow
    pytest.param(family, name, marks=[pytest.mark.slow] if own_tests.part(family, name, "IS_SLOW") else [])
    for family in plugins.FAMILIES
    if family != "measures"
    for name in plugins.names(family)
]
IMAGES, NUM_CLASSES = (1, 8, 8), 10


MODELS = [pytest.param(*one.values[1:], marks=one.marks) for one in EVERY if one.values[0] == "models"]


def named(family: str) -> list[str]:
    return plugins.names(family)


def needed_options(family: str, name: str) -> dict[str, Any]:
    """Return a plugin's options that have no default."""
    found: dict[str, Any] = LOSS_OPTIONS.get(name, {}) if family == "losses" else own_tests.part(family, name, "OPTIONS", {})
    return found


def build(name: str, **options: Any) -> nn.Module:
    _, plugin, config = plugins.configure("models", {name: {**needed_options("models", name), **options}})
    torch.manual_seed(0)
    model: nn.Module = plugin.build(config, signature_for(name))
    return model


def build_reference(reference: plugins.Reference) -> nn.Module:
    name, options = plugins.parse_reference(reference)
    return build(name, **options)


def example_options(name: str, folder: Path) -> dict[str, Any]:
    """Write the small data set of the source's own tests into `folder`, and return the options that read it."""
    example = own_tests.part("data", name, "example")
    assert example, f"tests/data/test_{name}.py has no example(folder), which every source's tests begin with"
    options: dict[str, Any] = example(folder)
    return options


@pytest.mark.parametrize(("family", "name"), EVERY, ids=lambda value: value)
def test_a_plugin_has_a_summary_and_ranges_within_its_bounds(family: str, name: str, tmp_path: Path) -> None:
    needed = example_options(name, tmp_path) if family == "data" else needed_options(family, name)
    plugin = plugins.load(family, name)
    assert plugins.summary(family, name).endswith((".", ")"))
    assert callable(getattr(plugin, plugins.FAMILIES[family]))
    assert set(plugin.SPACE) <= set(plugin.Config.model_fields)
    for corner in space.Space(distributions.parse(plugin.SPACE)).corners():
        plugin.Config.model_validate({**needed, **corner})
    for field in plugin.Config.model_fields.values():
        assert field.description, "an option says its unit"
    with pytest.raises(InputError, match="no_such_option"):
        plugins.configure(family, {name: {"no_such_option": 1}})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_outputs_logits_and_is_sized_without_weights(name: str) -> None:
    model, signature = build(name), signature_for(name)
    arguments = examples_for(signature, 3)
    logits = by_sequence(model(*arguments), list(signature.classes))
    for output in signature.outputs:
        found = logits[output.name]
        assert (found.shape[0], found.shape[-1], found.ndim) == (3, output.num_classes, 3 if output.steps else 2)
        ragged = signature.inputs[0].is_ragged  # the task of other networks checks their steps (`check_steps`)
        assert not (output.steps and ragged) or stride_between(arguments[0].shape[1], found.shape[1])
    with torch.device("meta"):
        weightless = build(name)
    real, planned = cost.size(model), cost.size(weightless)
    assert {key: real[key] for key in planned} == planned
    assert cost.macs(weightless, signature) == cost.macs(model, signature)


def test_every_model_takes_images_sentences_or_the_examples_of_its_own_tests() -> None:
    for name in named("models"):
        assert name in models_for(signature_for(name)), f"tests/models/test_{name}.py has no SIGNATURE of what it takes"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_evaluation_mode_processes_examples_independently(name: str) -> None:
    model, signature = build(name).eval(), signature_for(name)
    batch = examples_for(signature, 5)
    together = by_sequence(model(*batch), list(signature.classes))
    for number in range(5):
        alone = by_sequence(model(*(part[number : number + 1] for part in batch)), list(signature.classes))
        for output, logits in alone.items():
            torch.testing.assert_close(together[output][number : number + 1], logits)


@pytest.mark.parametrize("name", MODELS)
def test_the_ends_of_a_models_ranges_can_be_built(name: str) -> None:
    plugin = plugins.load("models", name)
    sizes = [cost.size(build(name, **corner))["params"] for corner in space.Space(distributions.parse(plugin.SPACE)).corners()]
    assert len(set(sizes)) == len(sizes), "every end of a range gives another size"


def stored(examples: Examples) -> Iterator[tuple[Any, ...]]:
    """Give the numbers of each example's inputs, without padding."""
    for number in range(len(examples)):
        fields = (field.take(slice(number, number + 1))[0] for field in examples.inputs.values())
        yield tuple(tuple(numbers.flatten().tolist()) for numbers in fields)


@pytest.mark.parametrize("name", own_tests.with_their_skips("data"))
def test_splits_are_complete_disjoint_stratified_and_reproducible(name: str, tmp_path: Path) -> None:
    _, plugin, config = plugins.configure("data", {name: example_options(name, tmp_path)})
    read = {split: plugin.read(config, 0, split) for split in SPLITS}
    rows = {split: set(stored(examples)) for split, examples in read.items()}
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]
    for found in read.values():
        for classes in [target for target in found.targets.values() if isinstance(target.values, torch.Tensor)]:
            labels, num_classes = classes.take(slice(None))[0], len(classes.names)
            assert labels.min() >= 0
            assert labels.max() < num_classes
            shares = torch.bincount(labels.flatten(), minlength=num_classes) / len(found)
            assert (shares - 1 / num_classes).abs().max() < 0.02
    assert data.fingerprint(*read.values()) == data.fingerprint(*(plugin.read(config, 0, s) for s in SPLITS))
    is_drawn = own_tests.part("data", name, "IS_DRAWN", True)  # False: its splits do not depend on the seed
    assert is_drawn == (data.fingerprint(read["train"]) != data.fingerprint(plugin.read(config, 1, "train")))


def test_a_source_whose_package_is_absent_skips_this_contract_as_its_own_tests_do() -> None:
    marks = {found.values[0]: [one.name for one in found.marks] for found in own_tests.with_their_skips("data")}
    assert marks["digit_lines"] == marks["digit_clips"] == ["skipif"] and marks["digits"] == []


@pytest.mark.parametrize("split", SPLITS)
def test_only_training_labels_may_be_unknown(split: Any) -> None:
    labels = torch.tensor([0, 1, UNKNOWN, 2])
    made = classified(torch.zeros(4, 1), labels, ("a", "b", "c"))
    if split == "train":
        assert data.checked(made, split) is made
        made = classified(torch.zeros(4, 1), torch.tensor([0, 1, 3, 2]), ("a", "b", "c"))
    assert data.checked(made.head(2), split).num_labelled == 2
    with pytest.raises(InputError, match=rf"the {split} split: the label 'class' of row 2 .*3 classes \(0 to 2\)"):
        data.checked(made, split)


ACTIVATIONS = {"of": "activations"}  # which transformers of sequences must set
LOSS_OPTIONS: dict[str, Any] = {
    "attention": ACTIVATIONS,
    "mixture": {"terms": {"kd": 1.0, "attention": ACTIVATIONS, "fitnet": 1.0, "weights": 1.0}},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # options that make another loss of one
    "attention-heads": ("attention", {"of": "heads"}),
    "kd-standardised": ("kd", {"standardise": True}),
    "similarity-pooled": ("similarity", {"pooled": True}),
    "weights-by-depth": ("weights", {"match": "depth", "distance": "subspace"}),
}
LOSSES = [*named("losses"), *VARIANTS]
OFFERED = Outline(
    classes=5,
    stages=tuple(
        Stage(name=f"stage{i}", grid=(side, side), channels=3 * i, heads=2, qkv_width=8) for i, side in ((1, 4), (2, 2))
    ),
    weights={"head.weight": (5, 6)},
    head_stages=("stage2",),
)
SEQUENCE = Outline(
    classes=5,
    stages=tuple(Stage(name=f"stage{i}", grid=(3,), channels=2 + 2 * i, heads=2, qkv_width=9, has_steps=True) for i in (1, 2)),
    weights={"head.weight": (5, 6)},
    head_stages=("stage2",),
)
REAL = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, False]])


def answer(seed: int, outline: Outline = OFFERED, steps: int = 1, mask: torch.Tensor | None = None) -> Output:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.double)

    logits = draw(4, steps, 5)
    features = {stage.name: draw(4, stage.positions, stage.channels) for stage in outline.stages}
    heads = {stage.name: draw(4, 2, stage.positions, stage.positions) for stage in outline.stages}
    qkv = {stage.name: draw(4, stage.positions, 3 * stage.qkv_width) for stage in outline.stages}
    labels = torch.tensor([0, 3, -1, 2]).unsqueeze(1).repeat(1, steps)
    weights, linear = {"head.weight": draw(5, 6)}, draw(5, outline.stages[-1].channels)
    return summarised(Output(
        logits=logits, features=features, heads=heads, qkv=qkv, weights=weights, labels=labels, mask=mask,
        decoded=logits.argmax(dim=-1), head=lambda maps: {"": head_of(maps[-1], linear, steps)},
    ))  # fmt: skip


def head_of(features: torch.Tensor, weight: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the logits that a head computes for each step of several, otherwise for `steps` from the sum of all positions."""
    if features.ndim == 3 and steps > 1:
        return features @ weight.to(features.dtype).T
    whole = features.flatten(2).sum(dim=2) if features.ndim == 4 else features.sum(dim=1)
    return (whole @ weight.to(features.dtype).T).unsqueeze(1).expand(-1, steps, -1)


def summarised(own: Output, mask: torch.Tensor | None = None) -> Output:
    """Return the output with the maps and pooled features of its features."""
    maps = {name: output.square().mean(2) for name, output in own.features.items()}
    mask = own.mask if mask is None else mask
    counts = torch.ones(own.logits.shape[:2]) if mask is None else mask
    shares = counts.double() / counts.double().sum(1, keepdim=True)
    pooled = {
        name: (output * shares.unsqueeze(2)).sum(1) if output.shape[1] == shares.shape[1] else output.mean(1)
        for name, output in own.features.items()
    }
    return replace(own, maps=maps, pooled=pooled)


FREE = ("features", "heads", "qkv", "weights")  # parts of an output beside its logits
DERIVED = ("maps", "pooled")  # parts that are computed from others


def test_the_contract_of_losses_covers_every_part_that_a_loss_may_compare() -> None:
    """A part that `answer` did not have would be padding that no test fills with NaN."""
    assert set(get_args(Need)) == {"logits", "decoded", "head", *FREE, *DERIVED}
    assert all(set(getattr(answer(0, SEQUENCE), kind)) for kind in (*FREE, *DERIVED))


def freed(own: Output) -> tuple[torch.Tensor, ...]:
    """Return the tensors that a student changes, each with `requires_grad`."""
    free = (own.logits, *(tensor for kind in FREE for tensor in getattr(own, kind).values()))
    return tuple(tensor.requires_grad_() for tensor in free)


def with_free(own: Output, free: Sequence[torch.Tensor]) -> Output:
    """Return the output with the tensors of `freed` replaced, and with its maps and pooled features computed from them."""
    left = iter(free[1:])
    parts = {kind: {name: next(left) for name in getattr(own, kind)} for kind in FREE}
    return summarised(replace(own, logits=free[0], **parts))


def built(name: str, outline: Outline) -> nn.Module:
    plain, options = VARIANTS.get(name, (name, LOSS_OPTIONS.get(name, {})))
    _, plugin, config = plugins.configure("losses", {plain: options})
    torch.manual_seed(0)
    loss: nn.Module = plugin.build(config, 4.0, outline, outline).double()
    return loss


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_positive_and_finite_and_minimising_it_reduces_it(name: str) -> None:
    """The loss falls to a hundredth, or as far as it can, in the student's logits, features, attention and weights."""
    loss = built(name, OFFERED)
    student, teacher = answer(0), answer(1)
    first = loss(student, teacher)
    low = first / own_tests.part("losses", name, "LEAST_FALL", 100)
    assert first.ndim == 0 and first > 0
    free = freed(student)
    optimizer = torch.optim.Adam([*free, *loss.parameters()], lr=0.05)
    for _ in range(600):
        value = loss(summarised(student), teacher)
        if value < low:
            break
        optimizer.zero_grad()
        value.backward()
        assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in free)
        optimizer.step()
    assert value < low


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_no_gradient_where_the_student_equals_its_teacher(name: str) -> None:
    loss = built(name, OFFERED)
    if list(loss.parameters()):
        pytest.skip("an adapter stands between them")
    if why := own_tests.part("losses", name, "NOT_ZERO_FOR_EQUAL_NETWORKS"):
        pytest.skip(why)
    assert loss(answer(0), answer(0)).abs() < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_a_losss_gradient_is_its_numerical_slope(name: str) -> None:
    if why := own_tests.part("losses", name, "NO_NUMERICAL_SLOPE"):
        pytest.skip(why)
    loss = built(name, SEQUENCE).eval()
    student, teacher = answer(0, SEQUENCE, steps=3), answer(1, SEQUENCE, steps=3, mask=REAL)
    assert torch.autograd.gradcheck(lambda *free: loss(with_free(student, free), teacher), freed(student))


def options_of(name: str) -> list[dict[str, Any]]:
    """Return a loss's options in all combinations of its booleans and literals."""
    fields = plugins.load("losses", name).Config.model_fields
    choices = {
        option: [True, False] if field.annotation is bool else get_args(field.annotation)
        for option, field in fields.items()
        if field.annotation is bool or get_origin(field.annotation) is Literal
    }
    needed = LOSS_OPTIONS.get(name, {})
    return [{**needed, **dict(zip(choices, values, strict=True))} for values in product(*choices.values())]


COMBINATIONS = [(name, options) for name in named("losses") for options in options_of(name)]
FILLINGS = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e3, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("masked_by", ["sequence", "input"])
@pytest.mark.parametrize(("name", "options"), COMBINATIONS, ids=str)
@settings(max_examples=10)
@given(filling=FILLINGS, more=st.integers(0, 6), top_k=st.sampled_from([0, 2]))
def test_padding_changes_neither_a_loss_nor_its_gradients(
    name: str, options: dict[str, Any], masked_by: str, filling: float, more: int, top_k: int
) -> None:
    """A loss and its gradients do not depend on the values in padding, nor on its length.

    Padding are the steps that the mask leaves out, of the label sequence and of stages with a position a step. A label
    sequence of one step beside such stages is masked by their input alone.
    """
    _, plugin, config = plugins.configure("losses", {name: options})
    needs = needs_of(plugin, config)
    steps, top_k = (3, 0 if "logits" in needs else top_k) if masked_by == "sequence" else (1, 0)

    def learnt(fill: float | None, width: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        torch.manual_seed(0)
        loss = plugin.build(config, 4.0, SEQUENCE, SEQUENCE).double()
        student, teacher = (padded(masked(answer(seed, SEQUENCE, steps=steps), masked_by), fill, width) for seed in (0, 1))
        if top_k:
            teacher = sparse(teacher, top_k)
        free = [*freed(student), *(it.requires_grad_() for it in (*student.maps.values(), *student.pooled.values()))]
        value = loss(replace(student, labels=None, mask=None, input_mask=None), teacher)
        found = torch.autograd.grad(value, [*free, *loss.parameters()], allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in found)
        parts = zip([*axes_of_steps(student), *[0] * (len(found) - len(axes_of_steps(student)))], found, strict=True)
        split = [at_real_steps(gradient, axes, 3 + width) for axes, gradient in parts if gradient is not None]
        return [value.detach(), *(real for real, _ in split)], [rest for _, rest in split]

    (expected, _), (found, at_padding) = learnt(None, 0), learnt(filling, more)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert not any(gradient.any() for gradient in at_padding)


def masked(own: Output, by: str) -> Output:
    """Return the output with the mask `REAL` for its label sequence, or only for its input."""
    own = replace(own, mask=REAL) if by == "sequence" else replace(own, input_mask=REAL)
    return summarised(own, REAL)


def sparse(own: Output, k: int) -> Output:
    """Return a teacher's output with only the largest `k` logits of each step."""
    parts = top_k.compressed(own.logits.nan_to_num(0, 0, 0), k)
    top = top_k.restored(parts)
    return replace(own, logits=torch.empty(0), top=replace(top, gaps=top.gaps.double(), tails=top.tails.double()))


def axes_of_steps(own: Output) -> list[int]:
    """Return the number of step axes of each tensor of `freed`, and of the maps computed from it."""
    counts = {"features": 1, "heads": 2, "qkv": 1, "weights": 0, "maps": 1}
    return [int(own.mask is not None), *(counts[kind] for kind in (*FREE, "maps") for _ in getattr(own, kind))]


def at_real_steps(gradient: torch.Tensor, axes: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a gradient at real steps and at padding; a tensor without step axes has no padding."""
    real = functional.pad(REAL, (0, width - 3))
    if axes == 2:
        both = (real.unsqueeze(1) & real.unsqueeze(2)).unsqueeze(1).expand_as(gradient)
        return gradient[both], gradient[~both]
    return (gradient[real], gradient[~real]) if axes else (gradient, gradient[:0])


def padded(own: Output, filling: float | None, more: int) -> Output:
    """Return the output with `more` steps, and all values at padding, labels too, set to `filling`; None leaves them."""
    if filling is None:
        return own
    real = functional.pad(REAL, (0, more))
    pairs = (real.unsqueeze(1) & real.unsqueeze(2)).unsqueeze(1)

    def steps(tensor: torch.Tensor, with_: float = filling) -> torch.Tensor:
        """Return `[batch, steps, …]` with more of them."""
        wide = functional.pad(tensor, (*[0, 0] * (tensor.ndim - 2), 0, more))
        return wide.where(real.view(*real.shape, *[1] * (tensor.ndim - 2)), with_)

    is_stepped = own.mask is not None
    return replace(
        own,
        logits=steps(own.logits) if is_stepped else own.logits,
        features={name: steps(output) for name, output in own.features.items()},
        maps={name: steps(output) for name, output in own.maps.items()},
        heads={name: functional.pad(scores, (0, more, 0, more)).where(pairs, filling) for name, scores in own.heads.items()},
        qkv={name: steps(vectors) for name, vectors in own.qkv.items()},
        labels=steps(own.labels, 4) if is_stepped and own.labels is not None else own.labels,
        decoded=steps(own.decoded, 99) if is_stepped and own.decoded is not None else own.decoded,
        mask=real if is_stepped else None,
        input_mask=None if is_stepped else real,
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_for_the_largest_logits_of_half_precision(name: str) -> None:
    loss = built(name, SEQUENCE).float()
    student, teacher = (answer(seed, SEQUENCE, steps=3) for seed in (0, 1))
    student, teacher = (as_float(replace(it, logits=(1e4 * it.logits).half())) for it in (student, teacher))
    free = freed(student)
    value = loss(summarised(student), teacher)
    value.backward()
    assert value.isfinite()
    assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in free)


FLAT = (None, 0.0, 0.3, 1e-12, 1e-20, 1e-40)  # None: outputs that vary


@pytest.mark.slow
@pytest.mark.parametrize("outline", [OFFERED, SEQUENCE], ids=["grid", "steps"])
@pytest.mark.parametrize(("name", "options"), COMBINATIONS, ids=str)
def test_a_loss_and_its_gradients_are_finite_for_outputs_that_are_all_equal(
    name: str, options: dict[str, Any], outline: Outline
) -> None:
    """A head whose weights start at 0 outputs equal logits; a stage without activity outputs equal features."""
    _, plugin, config = plugins.configure("losses", {name: options})
    for of_student, of_teacher in product(FLAT, FLAT):
        loss = plugin.build(config, 4.0, outline, outline)
        student, teacher = flat(answer(0, outline, 3), of_student), flat(answer(1, outline, 3), of_teacher)
        free = freed(student)
        value = loss(summarised(student), teacher)
        found = torch.autograd.grad(value, [*free, *loss.parameters()], allow_unused=True)
        assert 0 <= value < 1e6, (of_student, of_teacher)
        assert all(gradient is None or gradient.isfinite().all() for gradient in found), (of_student, of_teacher)


def flat(own: Output, value: float | None) -> Output:
    """Return the output in float32, each of its tensors filled with one value; None leaves them."""
    own = as_float(own)
    if value is None:
        return own
    parts = {kind: {name: torch.full_like(one, value) for name, one in getattr(own, kind).items()} for kind in FREE}
    return summarised(replace(own, logits=torch.full_like(own.logits, value), **parts))


def as_float(own: Output) -> Output:
    kinds = (*FREE, *DERIVED)
    parts = {kind: {name: tensor.float() for name, tensor in getattr(own, kind).items()} for kind in kinds}
    return replace(own, logits=own.logits.float(), **parts)


def lived(method: Method, model: nn.Module, example: tuple[torch.Tensor, ...], epochs: int = 4) -> Sequence[Point]:
    """Return the candidates of a training without weight updates, of two steps an epoch."""
    recoveries = method.recoveries(epochs)
    assert 0 <= sum(recoveries) < epochs and all(recoveries)
    calibration = Calibration(
        arguments=example, steps=2 * epochs, batches=lambda count: [example] * count,
        losses=lambda count: (model(*example).square().mean() for _ in range(count)),
    )  # fmt: skip
    model = method.start(model, calibration)
    removals = [epochs - sum(recoveries[number:]) for number in range(len(recoveries))]
    for epoch in range(epochs):
        if epoch in removals:
            model = method.remove(model, calibration)
        method.after_step(model, 0.1)
        method.after_step(model, 0.1)
    return method.finish(model, calibration)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("name", named("sparsity"))
def test_a_student_has_the_size_predicted_before_its_training(name: str, epochs: int) -> None:
    _, plugin, config = plugins.configure("sparsity", {name: sparse_models.options(name)})
    example = (torch.randn(2, *IMAGES),)
    presized = plugin.build(config, 0.5).presized(build_reference(small(name, {"convnet": {"width": 8}})), example)
    first = lived(plugin.build(config, 0.5), build_reference(small(name, {"convnet": {"width": 8}})), example, epochs)[0]
    assert first.amount == 0.5
    assert presized is None or cost.size(presized)["params"] == cost.size(first.model)["params"]


@pytest.mark.parametrize("name", named("sparsity"))
def test_the_candidates_of_a_training_share_no_weights(name: str) -> None:
    _, plugin, config = plugins.configure("sparsity", {name: sparse_models.options(name)})
    model = build_reference(small(name, {"convnet": {"width": 8}}))
    points = lived(plugin.build(config, 0.5), model, (torch.randn(2, *IMAGES),), epochs=2)
    weights = [{weight.data_ptr() for weight in point.model.parameters()} for point in points]
    assert all(0 <= point.amount <= 0.95 and point.made for point in points)
    assert len(set().union(*weights)) == sum(map(len, weights)) > 0


@pytest.mark.parametrize(
    ("name", "model"),
    [
        pytest.param(name, model, marks=[pytest.mark.slow] if model in ("mobilenet", "shufflenet") else [])
        for name in named("sparsity")
        for model in fitting(name)
    ],
)
def test_removed_channels_are_gone_and_the_rest_can_be_trained(name: str, model: str) -> None:
    _, plugin, config = plugins.configure("sparsity", {name: sparse_models.options(name)})
    batch = torch.randn(4, *IMAGES)
    sizes, costs = [], []
    for share in (0.0, 0.5, 0.75):
        point = lived(plugin.build(config, share), build_reference(model), (batch[:2],), epochs=2)[0]
        pruned = point.model
        logits = pruned(batch)
        assert logits.shape == (4, NUM_CLASSES)
        logits.sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pruned.parameters())
        sizes.append(cost.size(pruned)["nonzero_params"])
        costs.append(cost.macs(pruned, plain_signature(IMAGES))["macs"])
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert costs == sorted(costs, reverse=True)


@pytest.mark.parametrize("name", named("sparsity"))
def test_the_smallest_network_retains_a_channel_in_every_layer(name: str) -> None:
    _, plugin, config = plugins.configure("sparsity", {name: sparse_models.options(name)})
    model = build_reference(small(name, {"convnet": {"width": 1, "depth": 3}}))
    point = lived(plugin.build(config, 0.95), model, (torch.zeros(2, *IMAGES),))[0]
    assert point.model(torch.randn(2, *IMAGES)).shape == (2, NUM_CLASSES)


def test_a_users_plugins_fulfil_the_same_contracts(user_module: Any) -> None:
    user_module(
        "my_networks",
        "from torch import nn\n"
        "from pydantic import Field\n"
        "from tutelage.plugins import PluginConfig\n"
        "class Linear:\n"
        "    SPACE = {}\n"
        "    class Config(PluginConfig):\n"
        "        bias: bool = True\n"
        "    @staticmethod\n"
        "    def build(config, signature):\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(64, len(signature.class_names), bias=config.bias))\n",
    )
    _, plugin, config = plugins.configure("models", {"my_networks:Linear": {"bias": False}})
    assert cost.size(plugin.build(config, plain_signature(IMAGES)))["params"] == 640
    with pytest.raises(InputError, match="cannot be imported"):
        plugins.load("models", "my_networks:Linaer")
    with pytest.raises(InputError, match="lacks read"):
        plugins.load("data", "my_networks:Linear")
