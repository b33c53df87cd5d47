"""Knowledge of examples of unequal length: stored without padding, it equals the teacher's live output."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.contexts import with_plan, with_untrained_teacher
from tests.data import test_slots
from tutelage.data import Batch
from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.networks.capture import capture, masks_of, sequences_from
from tutelage.networks.output import Need
from tutelage.sweep.teachers import teacher_contributions
from tutelage.training import inference
from tutelage.training.context import TrainingContext
from tutelage.training.knowledge_layout import Layout, StoredPart, inferred, layout_of, rows_of

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6)
RAGGED = {"steps": (3, (0,)), "last axis": (2, (1,)), "pairs": (2, (1, 2)), "first two": (1, (0, 1))}  # fixed sizes, axes


def part(lengths: torch.Tensor, fixed: int, axes: tuple[int, ...], longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a padded part of numbers that are all different, and where it has a value."""
    shape = [fixed] * (len(axes) + 1)
    for axis in axes:
        shape[axis] = longest
    values = torch.arange(len(lengths) * math.prod(shape), dtype=torch.float32).view(len(lengths), *shape) + 1
    real = torch.ones(values.shape, dtype=torch.bool)
    for axis in axes:
        steps = torch.arange(longest).view(-1, *[1] * (values.ndim - axis - 2))
        real &= steps < lengths.view(-1, *[1] * (values.ndim - 1))
    return values, real


@pytest.mark.parametrize("kind", RAGGED)
@given(lengths=LENGTHS, more=st.integers(0, 3))
def test_unpacked_parts_equal_the_packed_ones_at_real_steps_and_are_0_elsewhere(
    kind: str, lengths: list[int], more: int
) -> None:
    (fixed, axes), sizes = RAGGED[kind], torch.tensor(lengths)
    longest = max(1, int(sizes.max()))
    values, real = part(sizes, fixed, axes, longest + more)
    shape = [fixed] * (len(axes) + 1)
    for axis in axes:
        shape[axis] = 1
    layout = Layout(shape=tuple(shape), dtype="float32", ragged=axes)
    stored = layout.packed(values.where(real, float("nan")), sizes)
    assert stored.shape == layout.stored_shape(len(sizes), sizes)
    assert stored.numel() == int(real.sum()) and layout.num_bytes(len(sizes), sizes) == 4 * int(real.sum())
    again = StoredPart(stored, layout, sizes, layout.row_offsets(sizes))[torch.arange(len(sizes))]
    index = (slice(None), *(slice(0, longest) if axis in axes else slice(None) for axis in range(len(shape))))
    assert torch.equal(again, values.where(real, 0.0)[index])
    assert layout_of(layout.document()) == layout


def test_a_part_without_a_position_for_each_step_is_an_error() -> None:
    with pytest.raises(InputError, match=r"'features.stage1' has shape .*not one position a step.*knowledge.mode: live"):
        inferred("features.stage1", {2: torch.zeros(1, 1, 4), 8: torch.zeros(1, 3, 4)}, "float16")
    same = inferred("pooled.stage1", {2: torch.zeros(1, 4), 8: torch.zeros(1, 4)}, "float16")
    assert same == Layout(shape=(4,), dtype="float16")


@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=6, unique=True), stride=st.sampled_from([1, 2, 4, 8]))
def test_a_part_at_a_stride_is_stored_with_as_many_rows_as_an_example_has_steps(lengths: list[int], stride: int) -> None:
    def output(length: int) -> torch.Tensor:
        return torch.arange(-(-length // stride), dtype=torch.float32).add(1 + length).view(1, -1, 1)

    layout = inferred("logits.characters", {length: output(length) for length in (min(lengths), max(lengths))}, "float32")
    steps = [-(-length // stride) for length in lengths]
    if len(set(steps)) == 1:
        assert not layout.ragged
        return
    sizes, longest = torch.tensor(lengths), max(steps)
    padded = torch.cat([torch.nn.functional.pad(output(one), (0, 0, 0, longest - n)) for one, n in zip(lengths, steps)])  # noqa: B905
    stored = layout.packed(padded, sizes)
    assert len(stored) == sum(steps) == layout.stored_shape(len(sizes), sizes)[0]
    again = StoredPart(stored, layout, sizes, layout.row_offsets(sizes))[torch.arange(len(sizes))]
    assert torch.equal(again, padded) and layout_of(layout.document()) == layout


NEEDS: frozenset[Need] = frozenset({"features", "maps", "pooled"})


@pytest.fixture(scope="module", params=[(0, 0), (2, 0), (0, 3)], ids=["whole", "top-2", "drawn-3"])
def taught(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainingContext:
    """Scans of unequal length, and an untrained reader's knowledge of them in a cache."""
    home = tmp_path_factory.mktemp("knowledge")
    context = TrainingContext(data="tests.own_task:Scans", task="tests.own_task:ReadRows", seed=0)
    about = context.architecture({"tests.own_task:Reader": {"width": 8}})
    checkpoint.write(home / "teacher", checkpoint.seeded(about, 0), about)
    room = with_plan(context, home, dtype="float32", needs=NEEDS, top_k=request.param[0], samples=request.param[1])
    for split in ("train", "validation"):
        room.fill(split, 0)  # type: ignore[arg-type]
    return room


def live(room: TrainingContext, split: str, rows: torch.Tensor) -> tuple[Batch, dict[str, torch.Tensor]]:
    batch = room.splits[split].take(rows)  # type: ignore[index]
    with torch.inference_mode():
        return batch, capture(room.teacher, room.built_task, batch, NEEDS, room.teacher_outline.stages_of_steps)


@given(st.lists(st.integers(0, 399), min_size=1, max_size=12))
def test_stored_rows_equal_the_teachers_live_output_at_real_steps(taught: TrainingContext, rows: list[int]) -> None:
    knowledge = taught.cached_knowledge
    assert knowledge is not None
    batch, outputs = live(taught, "train", torch.tensor(rows))
    mask = batch.masks["frames"]
    for name, stored in knowledge.view("train", 0).items():
        values = stored[torch.tensor(rows)]
        if name not in outputs:
            assert taught.knowledge is not None and (taught.knowledge.top_k or taught.knowledge.samples)  # in place of logits
            continue
        expected, is_stepped = outputs[name], name != "logits.class" and not name.startswith("pooled.")
        assert values.shape == expected.shape
        torch.testing.assert_close(values[mask] if is_stepped else values, expected[mask] if is_stepped else expected)


def test_the_cache_has_the_bytes_of_its_real_values(taught: TrainingContext) -> None:
    assert taught.knowledge is not None and taught.knowledge.entry is not None
    place, lengths = taught.knowledge.entry.place("train", 0), taught.splits["train"].lengths
    assert lengths is not None
    steps, examples, classes = int(lengths.sum()), len(lengths), 4 + 10
    layouts = taught.layouts("train")
    real = sum(layout.num_bytes(examples, lengths) for layout in layouts.values())
    stepped = {name: layout for name, layout in layouts.items() if layout.ragged}
    assert {"features.stage1", "features.stage2", "maps.stage1", "maps.stage2"} < set(stepped)
    if taught.knowledge.samples:
        assert layouts["drawn.rows"] == Layout(shape=(1, 3), dtype="uint8", ragged=(0,))
    elif not taught.knowledge.top_k:
        assert real == 4 * (steps * (4 + 2 * 8 + 2) + examples * (classes - 4 + 2 * 8))
    on_disk = sum(path.stat().st_size for path in place.glob("*.npy"))
    assert on_disk <= 1.05 * real + 8 * examples


def test_a_teachers_measures_from_cached_knowledge_equal_those_of_its_live_output(taught: TrainingContext) -> None:
    """Masks are not cached: they are those of the examples."""
    rows = torch.arange(20, 60)
    batch, outputs = live(taught, "validation", rows)
    parts = taught.teacher_parts(rows, batch)
    assert parts is not None and torch.equal(masks_of(parts)["mask.rows"], batch.masks["frames"])
    task = taught.built_task
    own, other = (inference.evaluated(task, sequences_from(one), batch) for one in (parts, outputs))
    assert all((own[name] == other[name]).all() for name in other)
    same = inference.agreement(sequences_from(outputs), sequences_from(parts))
    assert (same["agreement"] == 1).all() and abs(same["teacher_kl_nats"]).max() < 1e-6
    found = inference.contributions_of(taught.teacher, task, taught.splits["validation"])
    assert all((teacher_contributions(taught)[name] == values).all() for name, values in found.items())


def test_rows_of_large_classes_are_as_they_were_stored() -> None:
    """uint16, which the lowest torch cannot index: `make test-lowest` runs this too."""
    stored = torch.tensor([[1, 300], [40_000, 65_535], [7, 8]]).to(torch.uint16)
    found = rows_of(stored, torch.tensor([1, 0, 1]))
    assert found.dtype == torch.uint16 and found.tolist() == [[40_000, 65_535], [1, 300], [40_000, 65_535]]


def test_a_split_of_one_example_is_cached_as_any_other(tmp_path: Path) -> None:
    for split, count in (("train", 40), ("valid", 1)):
        test_slots.write(tmp_path / split, *map(test_slots.sentence, range(count)))
    context = TrainingContext(data={"slots": {"path": str(tmp_path)}}, task="tagging", seed=0)
    taught = with_untrained_teacher(context, tmp_path / "home", {"bigru": {"embedding": 4, "hidden": 4}})
    batch = context.splits["validation"].take(slice(None))
    parts = taught.teacher_parts(torch.arange(1), batch)
    assert parts is not None and parts["logits.slots"].shape == (1, 4, 4) and parts["logits.intent"].shape == (1, 1, 2)
