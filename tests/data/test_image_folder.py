from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.common import assert_input_error, assert_unlabelled_are_training_examples, assert_well_split, cut
from tests.plain import Plain
from tutelage.data import _decode, _splitting, image_folder
from tutelage.errors import InputError

CLASSES = ("ash", "elm")


def write(folder: Path, count: int, seed: int, size: tuple[int, int] = (8, 8)) -> list[np.ndarray]:
    """Write `count` images of each class under `folder`; return their pixels in the order of classes and names."""
    draw = np.random.default_rng(seed)
    written = []
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            written.append(draw.integers(0, 256, (*size, 3), dtype=np.uint8))
            Image.fromarray(written[-1]).save(folder / name / f"{number:03d}.png")
    return written


def example(folder: Path) -> dict[str, Any]:
    write(folder / "trees", 20, 0)
    return {
        "path": str(folder / "trees"),
        "side_px": 8,
        "cache": str(folder / "cache"),
        "validation_share": 0.2,
        "test_share": 0.2,
    }


def in_folders(folder: Path) -> dict[str, Any]:
    for name, count, seed in (("train", 10, 0), ("val", 3, 1), ("test", 4, 2)):
        write(folder / "trees" / name, count, seed)
    return {"path": str(folder / "trees"), "side_px": 8, "cache": str(folder / "cache")}


def read(options: dict[str, Any], split: Any = "train", seed: int = 0) -> Any:
    return Plain(image_folder.read(image_folder.Config(**options), seed, split))


def test_each_split_is_read_from_its_folder(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    test = read(options, "test")
    expected = np.stack(write(tmp_path / "again", 4, 2)).transpose(0, 3, 1, 2)
    assert test.inputs.dtype == torch.uint8
    assert np.array_equal(test.inputs.numpy(), expected)
    assert test.labels.flatten().tolist() == [0] * 4 + [1] * 4
    assert test.class_names == CLASSES
    assert [len(read(options, split)) for split in ("train", "validation")] == [20, 6]
    train = read(options)
    assert train.mean == test.mean
    torch.testing.assert_close(train.seen(slice(None)).mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)


def test_it_is_split_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_well_split(lambda seed, split: read({**options, "test_share": 0.1}, split, seed), 0.22, drawn=36)


def test_the_shorter_side_is_scaled_and_the_centre_cropped(tmp_path: Path) -> None:
    for name, middle in zip(CLASSES, (50, 200), strict=True):
        (tmp_path / "trees" / name).mkdir(parents=True)
        pixels = np.zeros((10, 40, 3), np.uint8)
        pixels[:, 10:30] = middle
        for number in range(4):
            Image.fromarray(pixels + number).save(tmp_path / "trees" / name / f"{number}.png")
    train = read({"path": str(tmp_path / "trees"), "side_px": 5, "cache": str(tmp_path / "cache")})
    assert train.example_shape == (3, 5, 5)
    assert {round(float(image.float().mean()) / 10) * 10 for image in train.inputs} == {50, 200}


def test_images_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, decoded = in_folders(tmp_path), []
    real = getattr(image_folder, "decoded")  # noqa: B009 - imported there
    monkeypatch.setattr(image_folder, "decoded", lambda path, *how: decoded.append(path) or real(path, *how))
    first = read(options)
    assert len(decoded) == 20
    assert torch.equal(read(options, seed=3).inputs, first.inputs)
    assert len(decoded) == 20, "the folders do not depend on the seed"
    changed = tmp_path / "trees" / "train" / "ash" / "003.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(changed)
    os.utime(changed, ns=(1, 1))
    assert read(options).inputs[3, 0].min() == 255
    read({**options, "side_px": 4})
    assert len(decoded) == 60
    assert sorted(path.name[0] == "." for path in (tmp_path / "cache").iterdir()) == [False] * 3, "no draft is left"


@pytest.mark.parametrize("name", ["images.npy", "about.json"])
@pytest.mark.parametrize("is_empty", [False, True])
def test_a_damaged_cache_is_an_error_that_names_its_folder(tmp_path: Path, name: str, is_empty: bool) -> None:
    options = in_folders(tmp_path)
    read(options)
    for entry in (tmp_path / "cache").iterdir():
        (entry / name).write_bytes(b"" if is_empty else (entry / name).read_bytes()[:-5])
    with pytest.raises(InputError, match=r"cache/[0-9a-f]{16}: the cached examples are damaged.*Remove this folder"):
        read(options)


def test_a_split_is_memory_mapped_and_writing_to_it_does_not_reach_the_cache(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    first = read(options).inputs
    kept = first.clone()
    first.zero_()
    assert torch.equal(read(options).inputs, kept)


def test_two_processes_that_decode_at_once_both_get_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, real = in_folders(tmp_path), _splitting.statistics

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(image_folder, "statistics", real)
        read(options)
        return real(*arguments)

    monkeypatch.setattr(image_folder, "statistics", overtaken)
    assert len(read(options)) == 20
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_unreadable_image_is_an_error_and_leaves_no_draft(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    cut(tmp_path / "trees" / "train" / "elm" / "004.png", 60)
    assert_input_error(lambda: read(options), "elm/004.png", "cannot be read as an image", "remove it")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA"])
def test_an_image_that_is_not_rgb_is_an_error_or_is_converted(tmp_path: Path, mode: str) -> None:
    options = in_folders(tmp_path)
    grey = Image.new("RGB", (8, 8), (102, 102, 102)).convert(mode)
    grey.save(tmp_path / "trees" / "train" / "ash" / "999.tif")
    assert_input_error(lambda: read(options), "ash/999.tif", f"is {mode}, not RGB", "not_rgb: convert")
    assert (read({**options, "not_rgb": "convert"}).inputs[10] == 102).all()


def test_missing_and_empty_class_folders_are_errors(tmp_path: Path) -> None:
    options = example(tmp_path)
    trees = tmp_path / "trees"
    assert_input_error(lambda: read({**options, "path": str(tmp_path / "tree")}), "not there", "Did you mean 'trees'?")
    (trees / "oak").mkdir()
    assert_input_error(lambda: read(options), f"{trees / 'oak'}", "has no image")
    (trees / "oak").rmdir()
    (trees / "elm").rename(tmp_path / "elm")
    assert_input_error(lambda: read(options), "only the class 'ash'", "at least two classes")


def test_a_split_folder_that_is_empty_or_has_another_class_is_an_error(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    test = tmp_path / "trees" / "test"
    (test / "oak").mkdir()
    assert_input_error(lambda: read(options, "test"), f"{test / 'oak'}", "not a class of the training folder (ash, elm)")
    (test / "oak").rmdir()
    for path in test.rglob("*.png"):
        path.unlink()
    assert_input_error(lambda: read(options, "test"), f"{test}", "the test split is empty")


def unlabelled(folder: Path, count: int, name: str = "unlabelled") -> None:
    (folder / name / "deeper").mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 255)).save(folder / name / "deeper" / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unlabelled", "unlabeled"])
@pytest.mark.parametrize("make", [example, in_folders])
def test_unlabelled_images_are_training_examples(tmp_path: Path, make: Any, name: str) -> None:
    plain, more = (make(tmp_path / number) for number in "12")
    unlabelled(tmp_path / "2" / "trees" / ("train" if make is in_folders else ""), 5, name)
    assert_unlabelled_are_training_examples(lambda split: read(plain, split), lambda split: read(more, split), more=5)
    train = read(more)
    assert {tuple(image[:, 0, 0].tolist()) for image in train.inputs[~train.labelled]} == {(n, 0, 255) for n in range(5)}


def test_classes_are_read_from_validation_if_training_is_unlabelled(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    trees = tmp_path / "trees"
    for name in CLASSES:
        (trees / "train" / name).rename(tmp_path / name)
    unlabelled(trees / "train", 5)
    assert [(len(s), s.num_labelled, s.class_names) for s in (read(options, "train"), read(options, "test"))] == [
        (5, 0, CLASSES), (8, 8, CLASSES),
    ]  # fmt: skip
    (trees / "val").rename(tmp_path / "val")
    assert_input_error(
        lambda: read(options), f"{trees / 'train'}: no training example has a label", "train, val and test folders"
    )


def test_unlabelled_images_outside_the_training_folder_are_an_error(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    trees = tmp_path / "trees"
    unlabelled(trees / "val", 2)
    assert_input_error(
        lambda: read(options, "validation"), f"{trees / 'val' / 'unlabelled'}", "Move it into the training folder"
    )
    unlabelled(trees, 2)
    assert_input_error(lambda: read(options), f"{trees / 'unlabelled'}", "outside", f"Move it into {trees / 'train'}")
    (trees / "unlabelled").rename(tmp_path / "elsewhere")
    (trees / "train" / "unlabelled").mkdir()
    assert_input_error(lambda: read(options), f"{trees / 'train' / 'unlabelled'}: has no image")


def picture(folder: Path, image: Image.Image, name: str = "0.png", **how: Any) -> np.ndarray:
    """Return an image as it is read from a file, `[3, 8, 8]`."""
    image.save(folder / name, **how)
    return _decode.decoded(folder / name, 8, "convert", "white", "refuse")


def test_a_photograph_is_turned_by_its_exif_orientation(tmp_path: Path) -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:3] = 255
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))  # as a phone stores it that is held on its side
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to see it upright
    assert np.array_equal(picture(tmp_path, turned, exif=exif), upright.transpose(2, 0, 1))


def test_a_drawing_in_the_alpha_channel_is_put_on_a_background(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:5, 2:5, 3] = 255
    black = Image.fromarray(pixels)
    expected = np.where(pixels[..., 3] == 255, 0, 255)
    for image in (black, black.convert("LA")):
        assert (picture(tmp_path, image) == expected).all()
    palette = Image.fromarray(pixels[..., 3] // 255).convert("P")
    assert np.abs(picture(tmp_path, palette, transparency=0)[0] - expected).max() <= 1
    pixels[..., :3] = 255
    assert_input_error(lambda: picture(tmp_path, Image.fromarray(pixels)), "0.png: vanishes on a white background", "black")
    assert _decode.decoded(tmp_path / "0.png", 8, "convert", "black", "refuse").max() == 255


def test_grey_levels_of_16_bits_are_scaled_and_those_of_32_are_an_error(tmp_path: Path) -> None:
    levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    assert np.array_equal(picture(tmp_path, Image.fromarray(levels))[1], levels >> 8)
    wide = Image.fromarray(levels.astype(np.int32))
    assert_input_error(lambda: picture(tmp_path, wide, "0.tif"), "0.tif: has grey levels of 32 bits", "8 or 16")


def test_hidden_files_and_folders_are_not_read(tmp_path: Path) -> None:
    options = example(tmp_path)
    before = [read(options, split).inputs.clone() for split in ("train", "validation", "test")]
    trees = tmp_path / "trees"
    for hidden in (".ipynb_checkpoints", "ash/.ipynb_checkpoints", "__MACOSX", "elm/@eaDir", "elm/__MACOSX/deeper"):
        (trees / hidden).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(trees / hidden / "000-checkpoint.png")
    (trees / "ash" / "._000.png").write_bytes(b"a resource fork")
    after = [read(options, split).inputs for split in ("train", "validation", "test")]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("names", [("Train", "Valid", "Test"), ("training", "dev", "testing"), ("TRAIN", "Validation", "TEST")])
def test_split_folders_have_their_usual_names_in_any_case(tmp_path: Path, names: tuple[str, str, str]) -> None:
    options = in_folders(tmp_path)
    for old, new in zip(("train", "val", "test"), names, strict=True):
        (tmp_path / "trees" / old).rename(tmp_path / "trees" / new)
    assert [len(read(options, split)) for split in ("train", "validation", "test")] == [20, 6, 8]


def test_split_folders_that_are_missing_double_or_inside_of_classes_are_errors(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    trees = tmp_path / "trees"
    write(trees / "valid", 2, 0)
    assert_input_error(lambda: read(options), f"{trees}: val and valid are both validation folders")
    (trees / "valid").rename(tmp_path / "valid")
    (trees / "train").rename(tmp_path / "train")
    assert_input_error(lambda: read(options), f"{trees}: has test and val, but no train folder")
    write(tmp_path / "classes" / "ash" / "train", 2, 0)
    assert_input_error(lambda: read({**options, "path": str(tmp_path / "classes")}), "ash: has a folder train", "train/ash")


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    trees = tmp_path / "trees"
    write(trees / "more", 1, 0)
    (trees / "train" / "ash" / "photo.heic").touch()
    (trees / "train" / "labels.csv").touch()
    Image.new("RGB", (8, 8)).save(trees / "train" / "loose.png")
    assert read(options).notes == (
        "left out the folders beside the splits: more",
        "left out the files that are no images: 1 with .csv, 1 with .heic",
        "left out 1 images outside of the class folders",
    )


def test_all_broken_images_are_named_at_once(tmp_path: Path) -> None:
    options = in_folders(tmp_path)
    trees = tmp_path / "trees"
    for place in ("train/elm/004.png", "train/ash/001.png", "test/ash/002.png"):
        cut(trees / place, 60)
    assert_input_error(
        lambda: read(options), "3 of 34 images cannot be read:", "elm/004.png", "train/ash/001.png", "test/ash/002.png"
    )
    for path in sorted(trees.rglob("*.png"))[:25]:
        path.write_bytes(b"")
    assert_input_error(lambda: read(options, "test"), "25 of 34 images cannot be read:", "and 5 more")


@pytest.mark.parametrize("ending", ["gif", "png", "tif", "webp"])
def test_an_image_of_several_frames_is_an_error_unless_the_first_is_taken(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / f"a.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"has 2 frames or pages\. Set 'animated: first'"):
        _decode.decoded(path, 8, "convert", "white", "refuse")
    assert _decode.decoded(path, 8, "convert", "white", "first")[0].min() > 240


def test_a_phones_photograph_with_a_preview_is_an_image(tmp_path: Path) -> None:
    large, small = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "red")
    large.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small])
    assert _decode.decoded(tmp_path / "a.jpg", 8, "refuse", "white", "refuse").shape == (3, 8, 8)


def test_links_to_folders_or_to_nothing_and_pipes_are_left_out_with_a_note(tmp_path: Path) -> None:
    options = example(tmp_path)
    trees = Path(options["path"])
    (tmp_path / "elsewhere").mkdir()
    (trees / "ash" / "more").symlink_to(tmp_path / "elsewhere")
    (trees / "elm" / "dead.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(trees / "elm" / "pipe.png")
    (trees / "ash" / ".hidden").symlink_to(tmp_path / "nothing")
    write(tmp_path / "linked", 20, 3)
    (trees / "fir").symlink_to(tmp_path / "linked" / "ash")
    train = read(options)
    said = "left out links to folders or to nothing, pipes and the like: 3, such as ash/more"
    assert said in train.examples.notes and train.class_names == ("ash", "elm", "fir")


def test_a_file_for_the_folder_and_a_class_whose_name_is_no_text_are_errors(tmp_path: Path) -> None:
    options = example(tmp_path)
    one = str(Path(options["path"]) / "ash" / "000.png")
    assert_input_error(lambda: read({**options, "path": one}), "is a file. Give a folder")
    os.rename(os.fsencode(options["path"]) + b"/elm", os.fsencode(options["path"]) + b"/elm\xe9")
    assert_input_error(lambda: read(options), "not UTF-8")
