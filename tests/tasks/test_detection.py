"""Detection: cells belong to the right objects, the loss is the formula's, boxes are chosen greedily, and faults are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage import plugins
from tutelage.data import UNKNOWN, Batch, Examples, classified
from tutelage.data._objects import Objects, object_examples
from tutelage.errors import InputError
from tutelage.tasks import LabelSequence, Sequences
from tutelage.tasks._boxes import giou, iou, right, suppressed
from tutelage.tasks._cells import assigned, boxes_from, cells_of, expected, neighbours, strides_of
from tutelage.tasks.detection import Detection

LABELS = ["objects"]
NAMES, SIDE, BINS = ("cat", "dog", "eel"), 32, 16
SCENES = (
    ([[3.0, 5, 19, 25]], [0]),
    ([[2.0, 2, 12, 14], [18, 16, 31, 30]], [1, 2]),
    ([[0.0, 0, 32, 32]], [2]),
    ([[6.0, 4, 12, 12], [20, 20, 28, 27], [4, 20, 13, 30]], [0, 0, 1]),
)
EMPTY = ([], [])


def example(wanted: tuple[tuple[list[list[float]], list[int]], ...] = SCENES * 10) -> Examples:
    images = np.random.default_rng(0).integers(0, 256, size=(len(wanted), 1, SIDE, SIDE), dtype=np.uint8)
    scenes = [Objects(np.array(boxes).reshape(-1, 4), np.array(classes, dtype=int)) for boxes, classes in wanted]
    return object_examples(images, scenes, NAMES, notes=())


def task(**options: float) -> Detection:
    _, plugin, config = plugins.configure("tasks", {"detection": options})
    found: Detection = plugin.build(config)
    return found


def drawn(examples: Examples, batch: Batch, seed: int) -> Sequences:
    """Return random logits of the cells of stride 8."""
    generator, cells = torch.Generator().manual_seed(seed), (SIDE // 8) ** 2
    shapes = {"class": (cells, 1 + len(NAMES)), "edges": (4 * cells, BINS)}
    return {
        name: LabelSequence(logits=torch.randn(len(batch), *shape, generator=generator, dtype=torch.double))
        for name, shape in shapes.items()
    }


def perfect(examples: Examples, batch: Batch) -> Sequences:
    """Return logits that give each cell its object's class and edges."""
    cells = cells_of((SIDE // 8) ** 2, SIDE, SIDE)
    objects = batch.targets["objects"]
    found = assigned(cells, batch.targets["boxes"], (objects >= 0) & batch.masks["objects"])
    classes = torch.where(found.objects < 0, 0, 1 + objects.gather(1, found.objects.clamp(min=0)))
    edges = neighbours(found.distances.double(), BINS).clamp(min=1e-13).log().flatten(1, 2)
    logits = 40.0 * torch.nn.functional.one_hot(classes, 1 + len(NAMES)).double()
    return {"class": LabelSequence(logits=logits), "edges": LabelSequence(logits=edges)}


def test_the_number_of_cells_gives_the_strides() -> None:
    assert strides_of(64, 64, 64) == (8,) and strides_of(80, 64, 64) == (8, 16) and strides_of(336, 64, 64) == (4, 8, 16)
    assert strides_of(7 * 5, 50, 33) == (8,) and strides_of(35 + 12, 50, 33) == (8, 16)
    with pytest.raises(InputError, match="65 cells for an image of 64 × 64 px"):
        strides_of(65, 64, 64)
    cells = cells_of(80, 64, 64)
    assert cells.middles[9].tolist() == [12.0, 12.0] and cells.middles[65].tolist() == [24.0, 8.0]
    assert cells.strides.unique(return_counts=True)[1].tolist() == [64, 16]


def test_cells_belong_to_the_object_around_them_and_the_smaller_one_first() -> None:
    cells, boxes = cells_of(64, 64, 64), torch.tensor([[[0.0, 0, 64, 64], [24, 24, 40, 40], [50, 2, 52, 3]]])
    found = assigned(cells, boxes, torch.tensor([[True, True, True]])).objects.view(8, 8)
    assert (found[3:5, 3:5] == 1).all()  # the small box, whose middles these are
    assert found[0, 6] == 2 and (found == 2).sum() == 1  # too small to hold a middle: the nearest cell
    assert (found == 0).sum() == 16 - 4 and (found[2:6, 2:6] >= 0).all()  # within 1.5 strides of the large box's middle
    none = assigned(cells, boxes, torch.zeros(1, 3, dtype=torch.bool))
    assert (none.objects == -1).all() and none.distances.isfinite().all()


def test_a_large_box_belongs_to_cells_of_a_larger_stride() -> None:
    cells = cells_of(80, 64, 64)
    boxes = torch.tensor([[[4.0, 4, 24, 24], [0, 0, 65, 64]]])
    found = assigned(cells, boxes, torch.tensor([[True, True]])).objects[0]
    assert set(found[:64].tolist()) == {-1, 0} and set(found[64:].tolist()) == {-1, 1}


def test_boxes_come_back_from_their_distances_and_distributions() -> None:
    cells, boxes = cells_of(16, SIDE, SIDE), torch.tensor([[[3.0, 5, 19, 25]]])
    found = assigned(cells, boxes, torch.ones(1, 1, dtype=torch.bool))
    shares = neighbours(found.distances, BINS)
    back = boxes_from(expected(shares.clamp(min=1e-30).log().flatten(1, 2)), cells)
    torch.testing.assert_close(back[found.objects == 0], boxes[0].expand(int((found.objects == 0).sum()), 4))
    assert torch.allclose(neighbours(torch.tensor([2.25, 99.0, -1.0]), 4), torch.tensor(
        [[0, 0, 0.75, 0.25], [0, 0, 0, 1.0], [1.0, 0, 0, 0]]
    ))  # fmt: skip


def test_the_iou_and_its_generalisation() -> None:
    one, other = torch.tensor([0.0, 0, 10, 10]), torch.tensor([5.0, 0, 15, 10])
    apart = torch.tensor([20.0, 0, 30, 10])
    assert iou(one, other) == pytest.approx(1 / 3) and giou(one, other) == pytest.approx(1 / 3)
    assert iou(one, apart) == 0 and giou(one, apart) == pytest.approx(-1 / 3)
    assert iou(one, torch.zeros(4)) == 0 and giou(torch.zeros(4), torch.zeros(4)) == 0


def by_hand(boxes: Tensor, classes: Tensor, most_iou: float) -> list[bool]:
    """Return which boxes remain, one after the other."""
    kept: list[int] = []
    for place in range(len(boxes)):
        if not any(classes[place] == classes[one] and iou(boxes[place], boxes[one]) > most_iou for one in kept):
            kept.append(place)
    return [place in kept for place in range(len(boxes))]


def test_suppression_is_that_of_one_box_after_the_other() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = 20 * torch.rand(5, 30, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 10 * torch.rand(5, 30, 2, generator=generator)], dim=-1)
    classes = torch.randint(0, 2, (5, 30), generator=generator)
    found = suppressed(boxes, classes, 0.4)
    assert found.tolist() == [by_hand(*one, 0.4) for one in zip(boxes, classes, strict=True)]
    assert 0 < found.sum() < found.numel()


def test_the_loss_is_the_focal_loss_and_those_of_the_edges() -> None:
    examples, own = example(), task()
    batch = examples.take(torch.tensor([0]))
    logits = drawn(examples, batch, 0)
    cells = cells_of(16, SIDE, SIDE)
    found = assigned(cells, batch.targets["boxes"], torch.ones(1, 1, dtype=torch.bool))
    expected_loss, count = 0.0, int((found.objects == 0).sum())
    for cell in range(16):
        inside = bool(found.objects[0, cell] == 0)
        p = logits["class"].logits[0, cell].softmax(dim=-1)[1 if inside else 0]
        expected_loss += float(-((1 - p) ** 2) * p.log()) / count
        if inside:
            edges = logits["edges"].logits[0, 4 * cell : 4 * cell + 4]
            distances = edges.softmax(dim=-1) @ torch.arange(16, dtype=torch.double)
            box = torch.cat([cells.middles[cell] - 8 * distances[:2], cells.middles[cell] + 8 * distances[2:]])
            expected_loss += 2 * float(1 - giou(box, batch.targets["boxes"][0, 0])) / count
            for edge, logit in zip(found.distances[0, cell].double(), edges, strict=True):
                low, logs = int(edge), logit.log_softmax(dim=-1)
                shares = [1 - (edge - low), edge - low]
                entropy = sum(-share * share.log() for share in shares if share > 0)
                cross = -shares[0] * logs[low] - shares[1] * logs[low + 1]
                expected_loss += 0.5 / 4 * float(cross - entropy) / count
    assert float(own.loss(logits, batch)) == pytest.approx(expected_loss, rel=1e-6)


def test_an_empty_image_is_labelled_and_an_unknown_one_is_not() -> None:
    examples, own = example((EMPTY, SCENES[0])), task()
    batch = examples.take(slice(None))
    logits = drawn(examples, batch, 0)
    assert examples.labelled.all() and (own.loss(logits, batch) > 0).all()
    unknown = replace(batch, targets={**batch.targets, "objects": torch.full_like(batch.targets["objects"], UNKNOWN)})
    assert own.loss(logits, unknown)[1] == 0 and own.loss(logits, unknown)[0] > 0


def test_few_likely_boxes_are_predicted_within_the_image() -> None:
    examples = example((SCENES[1], EMPTY))
    batch = examples.take(slice(None))
    found = task(most=3).decode(drawn(examples, batch, 0), batch)
    assert all(len(one.boxes) == len(one.scores) == 3 and one.scores == sorted(one.scores)[::-1] for one in found)
    assert all(0 <= side <= SIDE for one in found for box in one.boxes for side in box)
    (right, empty) = task().decode(perfect(examples, batch), batch)
    assert right.classes in ([1, 2], [2, 1]) and empty.boxes == []
    assert task(least_score=0.99).decode(drawn(examples, batch, 0), batch)[0].boxes == []


def test_data_without_boxes_and_networks_without_cells_are_errors() -> None:
    with pytest.raises(InputError, match="the data lack the target 'objects', the target 'boxes'"):
        task().outputs(classified(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long), ("a", "b")))
    task().check_steps({"class": 16, "edges": 64}, example())
    with pytest.raises(InputError, match="17 cells"):
        task().check_steps({"class": 17, "edges": 68}, example())
    with pytest.raises(InputError, match="four steps a cell"):
        task().check_steps({"class": 16, "edges": 16}, example())


def test_the_baseline_is_one_guess_for_every_image() -> None:
    assert 0 <= task().baseline(example(), example()) < 0.5


def test_edges_matter_where_the_teacher_sees_an_object_and_regions_are_shares_of_the_image() -> None:
    examples, own = example((SCENES[1], EMPTY)), task()
    batch = examples.take(slice(None))
    focus = own.focus(perfect(examples, batch), batch)
    assert set(focus) == {"edges"} and focus["edges"].shape == (2, 64)
    cells = assigned(cells_of(16, SIDE, SIDE), batch.targets["boxes"], batch.masks["objects"])
    torch.testing.assert_close(focus["edges"] > 0.5, (cells.objects >= 0).repeat_interleave(4, dim=1))
    regions = own.regions(batch)
    torch.testing.assert_close(regions[0] * SIDE, batch.targets["boxes"][0])
    assert not regions[1].any()


def test_a_box_is_right_if_it_finds_an_object_of_its_class_that_no_better_box_has_found() -> None:
    true, boxes = (
        torch.tensor([[0.0, 0, 10, 10], [0, 2, 10, 12]]),
        torch.tensor([[0.0, 0, 10, 11], [0, 0, 10, 10], [0, 0, 4, 4]]),
    )
    assert right(boxes, [0, 0, 0], true, [0, 0]) == [True, True, False], "the second finds the other object"
    assert right(boxes, [0, 0, 0], true, [0, 1]) == [True, False, False], "one box finds an object"
    assert right(boxes, [1, 0, 1], true, [0, 1]) == [True, True, False]
    assert right(boxes[:0], [], true, [0, 1]) == [] and right(boxes[:1], [0], true[:0], []) == [False]


def test_an_example_shows_each_networks_boxes_and_marks_the_wrong_ones() -> None:
    one = example(SCENES[:1])
    batch = one.take(slice(None))
    shown = Detection(task()._config).show(one, {"teacher": perfect(one, batch), "student": drawn(one, batch, 0)})
    assert [f"<figcaption>{role}</figcaption>" in shown for role in ("labels", "teacher", "student")] == [True] * 3
    assert "<th>labels</th><td>cat</td>" in shown and "<th>teacher</th><td>cat " in shown
    assert "<mark>" not in shown[shown.index("<th>teacher") : shown.index("<th>student")]
    assert "<mark>" in shown[shown.index("<th>student") :]


def test_objects_larger_than_any_box_of_the_network_are_errors_with_the_bins_that_they_need() -> None:
    wide = ([[0.0, 8, 32, 16]], [0])  # of 32 px: its half is two strides of 8 px
    task(bins=3).check_steps({"class": 16, "edges": 64}, example((*SCENES, wide)))
    task(bins=2).check_steps({"class": 16, "edges": 64}, example((wide,)))  # half of it: an IoU of 0.5
    with pytest.raises(InputError, match=r"1 of 2 objects are too large.* at most 1 strides \(bins - 1\).* One of 32 × 32 px"):
        task(bins=2).check_steps({"class": 16, "edges": 64}, example((SCENES[0], SCENES[2])))
    with pytest.raises(
        InputError, match=r"an IoU of 0\.25 at most, at a stride of 8 px, and 0\.5 is needed\. Set .*bins to 3,"
    ):
        task(bins=2).check_steps({"class": 16, "edges": 64}, example((SCENES[0], SCENES[2])))
    task(bins=2).check_steps({"class": 16, "edges": 64}, example((SCENES[2], *[SCENES[3]] * 33)))  # 1 of 100


def test_a_class_with_the_name_of_the_background_is_an_error() -> None:
    images = np.zeros((1, 1, SIDE, SIDE), dtype=np.uint8)
    scenes = [Objects(np.zeros((0, 4)), np.zeros(0, dtype=int))]
    with pytest.raises(InputError, match="a class is called <background>, as what is no object is"):
        task().outputs(object_examples(images, scenes, ("cat", "<background>"), notes=()))
