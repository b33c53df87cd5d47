"""Images and boxes are scaled alike; all that is wrong in COCO's JSON is named at once, with file and id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.common import assert_input_error
from tutelage.data import Examples, Ragged, coco
from tutelage.errors import InputError

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]


def document(count: int = 6, size: tuple[int, int] = (40, 20)) -> dict[str, Any]:
    """Return the JSON of `count` images with a box each, but the last, which has none."""
    images = [{"id": 10 + one, "file_name": f"{one}.png", "width": size[0], "height": size[1]} for one in range(count)]
    annotations = [
        {"id": 100 + one, "image_id": 10 + one, "category_id": (7, 3)[one % 2], "bbox": [4, 2, 20, 10 + one % 4], "iscrowd": 0}
        for one in range(count - 1)
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write(folder: Path, given: Any = None, size: tuple[int, int] = (40, 20)) -> Path:
    given = document(size=size) if given is None else given
    folder.mkdir(exist_ok=True, parents=True)
    for number, image in enumerate(given["images"]):
        pixels = np.full((size[1], size[0], 3), (37 * number) % 256, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / image["file_name"])
    (folder / "annotations.json").write_text(json.dumps(given))
    return folder


def example(folder: Path) -> dict[str, Any]:
    write(folder, document(36))
    return {"path": str(folder), "side_px": 32, "validation_share": 0.2, "test_share": 0.2}


def read(folder: Path, split: Any = "train", **options: Any) -> Examples:
    return coco.read(coco.Config(path=str(folder), **{"side_px": 32, **options}), 0, split)


def folders(folder: Path) -> Path:
    write(folder / "train")
    write(folder / "val")
    return folder


def test_images_and_boxes_are_scaled_to_the_longer_side(tmp_path: Path) -> None:
    found = read(folders(tmp_path), "validation")
    images, boxes = found.inputs["image"].values, found.targets["boxes"].values
    assert isinstance(images, torch.Tensor) and isinstance(boxes, Ragged)
    assert images.shape == (6, 3, 32, 32) and (images[1, :, :16] == 37).all() and (images[1, :, 16:] == 114).all()
    torch.testing.assert_close(boxes.take(torch.tensor([1])).values, torch.tensor([[3.2, 1.6, 19.2, 1.6 + 8.8]]))
    assert boxes.lengths.tolist() == [1, 1, 1, 1, 1, 0] and found.labelled.all()
    objects = found.targets["objects"]
    assert objects.names == ("cat", "dog") and isinstance(objects.values, Ragged), "in the order of their ids"
    assert objects.values.values.tolist() == [1, 0, 1, 0, 1]


def test_crowds_and_images_without_an_entry_are_left_out_with_a_note(tmp_path: Path) -> None:
    given = document()
    given["annotations"][2]["iscrowd"] = 1
    write(tmp_path / "train", given)
    Image.new("RGB", (9, 9)).save(tmp_path / "train/more.png")
    found = read(tmp_path, validation_share=0.2, test_share=0.2)
    assert [note for note in found.notes if note.startswith("left out")] == [
        f"left out 1 images that {tmp_path / 'train/annotations.json'} does not name",
        f"left out 1 annotations of crowds in {tmp_path / 'train/annotations.json'}",
    ]


def test_all_that_is_wrong_is_named_with_its_id(tmp_path: Path) -> None:
    given = document()
    boxes = [[-3, 2, 20, 10], [4, 2, 1e-7, 10], [4, 2, 20], [4, 2, 20, float("nan")], [4, 12, 20, 10]]
    for annotation, box in zip(given["annotations"], boxes, strict=True):
        annotation["bbox"] = box
    given["annotations"] += [
        {"id": 200, "image_id": 99, "category_id": 7, "bbox": [4, 2, 20, 10]},
        {"id": 201, "image_id": 10, "category_id": 8, "bbox": [4, 2, 20, 10]},
        {"image_id": True, "category_id": 7, "bbox": [4, 2, 20, 10]}, 5,
    ]  # fmt: skip
    given["annotations"].append({"id": 202, "image_id": 10, "category_id": 7, "bbox": [4, 2, 10**400, 10]})
    folder = write(tmp_path / "train", given)
    (folder / "4.png").unlink()
    write(
        tmp_path / "val",
        {
            **document(),
            "categories": [*CATEGORIES, CATEGORIES[0], {"id": 9, "name": "cat"}, {"id": 8, "name": "\ud800"}, {"id": "x"}],
        },
    )
    for split in ("train", "validation"):
        assert_input_error(
            lambda split=split: read(tmp_path, split),  # type: ignore[misc]
            "2 of 2 folders", "annotation 100: its box [-3, 2, 20, 10] (left, top, width, height) stands out of image 10",
            "annotation 101", "has no area",
            "annotation 102: its bbox is [4, 2, 20], not four numbers", "annotation 103: its bbox", "annotation 104",
            "annotation 200: its image_id is 99", "annotation 201: its category_id is 8; the categories are 3, 7",
            "annotations[7]: its image_id is True", "annotations[8]: is 5", "image 14: there is no image", "4.png",
            "val/annotations.json, categories[2]: id 7 stands twice", "two categories are called 'cat'",
            "categories[5]: has no id that is a whole number, but 'x'", "annotation 202: its bbox is",
            "has a name that is not UTF-8",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "cannot be read as JSON"), ("[]", "has no list of images, annotations, categories"),
        ('{"images": [], "annotations": [], "categories": []}', "names no image"), ("[" * 100_000, "cannot be read as JSON"),
    ],
)  # fmt: skip
def test_another_file_than_cocos_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "annotations.json").write_text(text)
    assert_input_error(lambda: read(tmp_path), "annotations.json", message)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "annotation.json").write_text("{}")
    assert_input_error(lambda: read(tmp_path), "annotations.json: is not there", "annotation.json")


def test_images_of_another_size_or_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write(folders(tmp_path) / "test")
    Image.new("RGB", (20, 40)).save(tmp_path / "train/3.png")
    (tmp_path / "train/2.png").write_bytes(b"no image")
    assert_input_error(lambda: read(tmp_path), "3.png: has 20 × 40 px, and 40 × 20 in", "2.png: cannot be read")
    given = document()
    for image in given["images"]:
        del image["width"], image["height"]
    given["annotations"][0]["bbox"] = [4, 2, 40, 10]
    write(tmp_path / "train", given)
    assert_input_error(lambda: read(tmp_path), "0.png: its box [4, 2, 40, 10] (left", "stands out of its 40 × 20 px")


def test_other_categories_of_a_split_are_an_error(tmp_path: Path) -> None:
    folders(tmp_path)
    write(tmp_path / "val", {**document(), "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]})
    assert_input_error(lambda: read(tmp_path, "validation"), "category 3 is 'dog', and 'cat' in")


def test_a_split_without_an_object_is_an_error(tmp_path: Path) -> None:
    folders(tmp_path)
    write(tmp_path / "val", {**document(), "annotations": []})
    assert_input_error(lambda: read(tmp_path, "validation"), "no image of the validation split has an object")


def test_boxes_are_cut_at_the_image_within_a_pixel(tmp_path: Path) -> None:
    given = document()
    given["annotations"][0]["bbox"] = [-0.5, -1, 41, 21.5]
    write(folders(tmp_path) / "train", given)
    boxes = read(tmp_path).targets["boxes"].values
    assert isinstance(boxes, Ragged) and [0.0, 0.0, 32.0, 16.0] in boxes.values.tolist()


def test_a_box_that_is_cut_to_nothing_and_a_file_of_two_images_are_errors(tmp_path: Path) -> None:
    given = document()
    for place, box in enumerate(([-0.9, 2, 0.5, 5], [40.2, 2, 0.5, 5])):
        given["annotations"][place]["bbox"] = box
    given["images"][3]["file_name"] = "2.png"
    assert_input_error(
        lambda: read(write(tmp_path, given)), "annotation 100: its box [-0.9, 2, 0.5, 5] has no area within image 10",
        "annotation 101: its box [40.2", "image 13: has the file of image 12",
    )  # fmt: skip


def test_boxes_of_a_flat_image_are_scaled_as_its_pixels(tmp_path: Path) -> None:
    given = document(size=(100, 5))  # at 32 px its height is 1.6, so 2
    for image, annotation in zip(given["images"], given["annotations"], strict=False):
        annotation["bbox"] = [0, 0, 100.9, 5.5]
        del image["width"], image["height"]
    boxes = read(write(tmp_path, given, (100, 5)), validation_share=0.2, test_share=0.2).targets["boxes"].values
    assert isinstance(boxes, Ragged)
    torch.testing.assert_close(boxes.values, torch.tensor([[0.0, 0.0, 32.0, 2.0]]).expand(len(boxes.values), 4))


def test_a_name_longer_than_that_of_any_file_is_absent(tmp_path: Path) -> None:
    given = document()
    folder = write(tmp_path / "train", given)
    given["images"][0]["file_name"] = "x" * 5_000
    (folder / "annotations.json").write_text(json.dumps(given))
    write(tmp_path / "val")
    assert_input_error(lambda: read(tmp_path), "image 10: there is no image")


def changed(part: str, **entry: Any) -> dict[str, Any]:
    given = document(20)
    given[part][2].update(entry)
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (changed("annotations", iscrowd="no"), "annotation 102: its iscrowd is 'no'. It is 0 for an object, and 1 for a crowd"),
        (changed("annotations", iscrowd=2), "annotation 102: its iscrowd is 2."),
        (changed("annotations", iscrowd=None), "annotation 102: its iscrowd is None."),
        (changed("annotations", bbox=["4", "2", "20", "10"]), "annotation 102: its bbox is ['4', '2', '20', '10'], not four"),
        (changed("annotations", bbox=[True, 2, 20, 10]), "annotation 102: its bbox is [True, 2, 20, 10], not four numbers"),
        (changed("annotations", image_id=12.0), "annotation 102: its image_id is 12.0, and no valid image has this id"),
        (changed("images", width="40"), "image 12: its width and height are '40' and 20, not whole numbers of pixels above 0"),
        (changed("images", height=None), "image 12: its width and height are 40 and None, not whole numbers"),
        (changed("images", file_name=5), "images[2]: id 12 has no file_name that is a text, but 5"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_of_another_kind_is_named(tmp_path: Path, given: Any, message: str) -> None:
    folder = write(tmp_path, document(20))
    (folder / "annotations.json").write_text(json.dumps(given))
    assert_input_error(lambda: read(folder), message)


def test_images_outside_of_the_folder_are_errors_and_one_in_another_folder_of_it_is_found(tmp_path: Path) -> None:
    given = document()
    folder = write(tmp_path / "data", given)
    (folder / "more").mkdir()
    (folder / "3.png").rename(folder / "more/3.png")
    Image.new("RGB", (40, 20)).save(tmp_path / "outside.png")
    given["images"][1]["file_name"], given["images"][2]["file_name"] = "../outside.png", str(tmp_path / "outside.png")
    (folder / "annotations.json").write_text(json.dumps(given))
    assert_input_error(
        lambda: read(folder), f"image 11: '../outside.png' is no path within {folder}. Put the image there", "image 12: '/",
        "image 13: there is no image", "Did you mean 'more/3.png'?",
    )  # fmt: skip


def test_wrong_ids_are_named_once_and_not_for_each_annotation_that_has_them(tmp_path: Path) -> None:
    given = document()
    for image in given["images"]:
        image["id"] = float(image["id"])
    given["annotations"][1]["iscrowd"] = 3
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, given))
    assert "images[0]: has no id that is a whole number, but 10.0" in str(caught.value)
    assert "annotation 101: its iscrowd" in str(caught.value) and "image_id" not in str(caught.value)


def test_boxes_as_shares_of_the_image_are_an_error(tmp_path: Path) -> None:
    given = document()
    for annotation in given["annotations"]:
        annotation["bbox"] = [0.1, 0.25, 0.5, 0.75]
    assert_input_error(lambda: read(write(tmp_path, given)), "all boxes are within the first pixel", "multiply them")


def turned(folder: Path, **size: int) -> Path:
    """Write images of 40 × 20 px, of which the second is stored on its side, and has another size in the file."""
    given = document(20)
    write(folder, given)
    given["images"][1] |= {"file_name": "1.jpg"} | size
    given["annotations"][1]["bbox"] = [4, 2, 10, 10]
    about = Image.Exif()
    about[0x0112] = 6
    Image.new("RGB", (20, 40)).save(folder / "1.jpg", exif=about)
    (folder / "annotations.json").write_text(json.dumps(given))
    return folder


def test_an_image_that_its_exif_turns_has_the_boxes_of_the_turned_one_with_a_note(tmp_path: Path) -> None:
    notes = [note for split in ("train", "validation", "test") for note in read(turned(tmp_path), split).notes]
    assert (
        sum("1 images are turned as their EXIF says; their boxes are read as those of the turned" in one for one in notes) == 1
    )
    assert_input_error(
        lambda: [read(turned(tmp_path, width=20, height=40), split) for split in ("train", "validation", "test")],
        "1.jpg: has 40 × 20 px, turned as its EXIF says, and 20 × 40 in", "Correct them there, and the boxes",
    )  # fmt: skip


def test_ids_of_annotations_that_stand_twice_are_named(tmp_path: Path) -> None:
    given = changed("annotations", id=100)
    assert_input_error(lambda: read(write(tmp_path, given)), "annotations[2]: id 100 stands in annotations[0] too. Give each")


def test_a_box_outside_of_an_image_of_unknown_size_is_named(tmp_path: Path) -> None:
    given = document()
    for image in given["images"]:
        del image["width"], image["height"]
    given["annotations"][0]["bbox"] = [4, 2, 40, 10.5]
    write(folders(tmp_path) / "train", given)
    assert_input_error(
        lambda: read(tmp_path, test_share=0.2), "its box [4, 2, 40, 10.5] (left, top, width, height) in", "Correct it"
    )


@pytest.mark.parametrize("name", ["val", "."])
def test_the_way_to_objects_depends_on_where_a_split_comes_from(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, {**document(20), "annotations": []})
    if name == "val":
        write(tmp_path / "train", document(20))
    way = "Annotate some of its images." if name == "val" else "put some with objects into a folder 'validation'."
    assert_input_error(lambda: read(tmp_path, "validation"), "no image of the validation split has an object.", way)


def test_categories_that_differ_in_case_are_noted_and_images_beside_a_folder_of_annotations_are_counted(tmp_path: Path) -> None:
    given = {**document(20), "categories": [*CATEGORIES, {"id": 9, "name": "Dog"}]}
    write(tmp_path, given)
    Image.new("RGB", (9, 9)).save(tmp_path / "more.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "annotations.json").rename(tmp_path / "labels/all.json")
    notes = read(tmp_path, annotations="labels/all.json").notes
    assert "categories that differ in case or blanks only: 'dog' and 'Dog'; are they one?" in notes
    assert f"left out 1 images that {tmp_path / 'labels/all.json'} does not name" in notes


@pytest.mark.parametrize("name", ["C:\\data\\3.PNG", "more/3.png", "3.Png"])
def test_an_image_under_another_path_or_case_is_found(tmp_path: Path, name: str) -> None:
    given = document()
    write(tmp_path, given)
    given["images"][3]["file_name"] = name
    (tmp_path / "annotations.json").write_text(json.dumps(given))
    assert_input_error(lambda: read(tmp_path), "image 13: there is no image", "Did you mean '3.png'?")
