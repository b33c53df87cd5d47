"""Average precision equals that of pycocotools and of faster-coco-eval, also for ties, crowded images and absent classes."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.measures._average_precision import (
    THRESHOLDS,
    at_a_half,
    by_threshold,
    contribution,
    matches,
    mean_over_thresholds,
)

CLASSES, MOST = 3, 100


def scene(generator: np.random.Generator, objects: int, found: int) -> dict[str, Any]:
    """Return true boxes, and detections near them or anywhere, some of the same score."""
    corners = generator.integers(0, 40, size=(objects, 2))
    true = np.concatenate([corners, corners + generator.integers(4, 30, size=(objects, 2))], axis=1).astype(float)
    near = true[generator.integers(0, objects, size=found)] if objects else generator.integers(0, 40, size=(found, 4))
    boxes = near + generator.integers(-3, 4, size=(found, 4))
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:] - 1), boxes[:, 2:]], axis=1).astype(float)
    scores = np.sort(generator.integers(1, 20, size=found) / 20)[::-1].copy()
    classes = generator.integers(0, CLASSES - 1, size=(2, max(objects, found)))  # no object of the last class
    return {
        "true": true, "true_classes": classes[0, :objects], "boxes": boxes,
        "classes": np.where(generator.random(found) < 0.1, CLASSES - 1, classes[1, :found]), "scores": scores,
    }  # fmt: skip


def by_library(scenes: list[dict[str, Any]], library: str) -> tuple[float, float]:
    """Return mAP@0.5:0.95 and mAP@0.5 of a library that evaluates COCO."""
    with contextlib.redirect_stdout(io.StringIO()):
        if library == "pycocotools":
            pytest.importorskip("pycocotools")
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        else:
            pytest.importorskip("faster_coco_eval")
            from faster_coco_eval import COCO
            from faster_coco_eval import COCOeval_faster as COCOeval
        annotations, results = [], []
        for image, one in enumerate(scenes):
            for box, label in zip(one["true"], one["true_classes"], strict=True):
                sized = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": int(label), "bbox": sized, "iscrowd": 0,
                     "area": sized[2] * sized[3]}
                )  # fmt: skip
            for box, label, score in zip(one["boxes"], one["classes"], one["scores"], strict=True):
                sized = [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]
                results.append({"image_id": image, "category_id": int(label), "bbox": sized, "score": float(score)})
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in range(len(scenes))], "annotations": annotations,
            "categories": [{"id": one, "name": str(one)} for one in range(CLASSES)],
        }  # fmt: skip
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def contributions_of(scenes: list[dict[str, Any]]) -> np.ndarray:
    return np.stack([contribution(**one, num_classes=CLASSES, most=MOST) for one in scenes])


@pytest.mark.slow
@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("seed", range(8))
def test_average_precision_is_that_of_the_libraries(library: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scenes = [scene(generator, int(generator.integers(0, 6)), int(generator.integers(1, 12))) for _ in range(25)]
    found = contributions_of(scenes)
    assert (mean_over_thresholds(found), at_a_half(found)) == pytest.approx(by_library(scenes, library), abs=1e-12)
    assert at_a_half(found) == pytest.approx(by_threshold(found)[0])


@given(seed=st.integers(0, 999))
@settings(max_examples=20)
def test_the_order_of_images_and_a_repetition_of_all_change_nothing_without_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scenes = [scene(generator, 3, 5) for _ in range(6)]
    for number, one in enumerate(scenes):
        one["scores"] = np.sort(generator.random(5))[::-1] + number * 1e-9
    found = contributions_of(scenes)
    assert by_threshold(found[::-1]) == pytest.approx(by_threshold(found))


def test_an_object_is_taken_once_and_by_the_largest_overlap() -> None:
    true = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    found = matches(np.array([[0.0, 0, 10, 10]] * 3), np.zeros(3, int), true, np.zeros(2, int))
    assert found.tolist() == [[True] * 10, (THRESHOLDS <= 0.9).tolist(), [False] * 10]


def test_images_without_objects_have_no_value_and_false_detections_lower_it() -> None:
    empty = np.zeros((0, 4))
    box = np.array([[0.0, 0, 10, 10]])
    one = contribution(box, np.zeros(1, int), np.array([0.5]), box, np.zeros(1, int), CLASSES, MOST)
    wrong = contribution(box, np.zeros(1, int), np.array([0.9]), empty, np.zeros(0, int), CLASSES, MOST)
    nothing = contribution(empty, np.zeros(0, int), np.zeros(0), empty, np.zeros(0, int), CLASSES, MOST)
    assert np.isnan(mean_over_thresholds(np.stack([wrong]))) and np.isnan(at_a_half(np.stack([nothing])))
    assert mean_over_thresholds(np.stack([one])) == 1.0
    assert mean_over_thresholds(np.stack([one, wrong])) == pytest.approx(0.5)
    missed = contribution(empty, np.zeros(0, int), np.zeros(0), box, np.zeros(1, int), CLASSES, MOST)
    assert mean_over_thresholds(np.stack([missed])) == 0.0
