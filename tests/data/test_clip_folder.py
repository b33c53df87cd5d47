"""Clips are read from folders of frames and from video files, upright and in one size; all broken ones are named at once."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.common import assert_input_error, cut
from tests.requirements import needs
from tutelage.data import UNKNOWN, Examples, Ragged, clip_folder
from tutelage.data._video_files import spread
from tutelage.errors import InputError, UnreachableError

CLASSES = ("jump", "run")
video = needs(importlib.util.find_spec("av"), "package av")


def pictures(count: int, seed: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def write_frames(folder: Path, frames: np.ndarray, names: Sequence[str] = ()) -> None:
    folder.mkdir(parents=True)
    for name, frame in zip(names or [f"{number}.png" for number in range(len(frames))], frames, strict=True):
        Image.fromarray(frame).save(folder / name)


def write_video(path: Path, frames: np.ndarray, rate: int = 10, codec: str = "ffv1") -> None:
    """Write a video; ffv1, in a file .mkv, keeps every pixel."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def write(folder: Path, count: int = 2) -> None:
    """Write clips of both classes as folders of 2, 3, … frames."""
    for label, name in enumerate(CLASSES):
        for number in range(count):
            write_frames(folder / name / f"{number}", pictures(2 + number % 3, 100 * label + number))


def example(folder: Path) -> dict[str, Any]:
    write(folder / "clips", 20)
    return options(folder) | {"validation_share": 0.2, "test_share": 0.2}


def options(folder: Path, **others: Any) -> dict[str, Any]:
    return {"path": str(folder / "clips"), "side_px": 8, "cache": str(folder / "cache"), **others}


def read(given: dict[str, Any], split: Any = "validation") -> Examples:
    return clip_folder.read(clip_folder.Config(**given), 0, split)


def clip(examples: Examples, row: int = 0) -> np.ndarray:
    field = examples.inputs["frames"]
    assert isinstance(field.values, Ragged)
    return field.values.take(torch.tensor([row])).values.numpy()


def labels(examples: Examples) -> list[int]:
    found: list[int] = examples.targets["class"].take(slice(None))[0].tolist()
    return found


def with_validation(folder: Path) -> Path:
    """Write training clips, and return the folder of the validation clips of the class run, which has none so far."""
    write(folder / "clips/train")
    for name in CLASSES:
        (folder / "clips/val" / name).mkdir(parents=True)
    return folder / "clips/val/run"


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    place, frames = with_validation(tmp_path), pictures(3, 7)
    write_frames(place / "a", frames, ("frame2.png", "frame10.png", "frame1.png"))
    found = read(options(tmp_path, test_share=0.4))
    assert np.array_equal(clip(found), frames[[2, 0, 1]].transpose(0, 3, 1, 2))
    assert labels(found) == [1] and found.targets["class"].names == CLASSES
    assert found.input_specs[0].shape == ("frames_steps", 3, 8, 8)


@video
def test_a_video_file_has_its_frames_and_its_rate_and_size_are_noted(tmp_path: Path) -> None:
    place, frames = with_validation(tmp_path), pictures(6, 7, (16, 24))
    write_video(place / "a.mkv", frames, rate=25)
    write_frames(place / "b", frames[:2])
    found = read(options(tmp_path, side_px=16))
    assert np.array_equal(clip(found), frames[:, :, 4:20].transpose(0, 3, 1, 2)), "the centre, every frame"
    (said,) = [note for note in found.notes if note.startswith("validation: 2 clips")]
    assert "2 to 6 frames of 16×16 px in rgb (all frames)" in said
    assert "1 of 24×16 px at 25 frames a second" in said and "1 of 24×16 px without a rate" in said


@video
@pytest.mark.parametrize(("rate", "kept"), [(5, [0, 2, 4, 6]), (4, [0, 3, 5]), (100, [0, 1, 2, 3, 4, 5, 6])])
def test_frames_are_kept_at_the_rate_of_the_option(tmp_path: Path, rate: float, kept: list[int]) -> None:
    place, frames = with_validation(tmp_path), pictures(7, 7)
    write_video(place / "a.mkv", frames, rate=10)
    found = read(options(tmp_path, frames_per_second=rate))
    assert np.array_equal(clip(found), frames[kept].transpose(0, 3, 1, 2))
    assert any("(100 frames a second, and all of the 1 clips with fewer)" in note for note in found.notes) is (rate == 100)
    write_frames(place / "b", frames)
    found = read(options(tmp_path, frames_per_second=rate))
    assert len(clip(found, 1)) == 7 and any("folders of frames have no rate" in note for note in found.notes)


@video
def test_a_phones_video_is_turned_as_it_says(tmp_path: Path) -> None:
    place, frames = with_validation(tmp_path), np.zeros((2, 16, 16, 3), np.uint8)
    frames[:, :8] = 255  # the upper half is white
    write_video(place / "a.mp4", frames, codec="mpeg4")
    content = (place / "a.mp4").read_bytes()
    turned, one = content.index(b"tkhd") + 44, 1 << 16  # the matrix of the track header: a quarter turn clockwise
    matrix = b"".join(number.to_bytes(4, "big", signed=True) for number in (0, one, 0, -one, 0, 0, 0, 0, 1 << 30))
    (place / "a.mp4").write_bytes(content[:turned] + matrix + content[turned + 36 :])
    (seen, *_) = clip(read(options(tmp_path, side_px=16, colours="grey")))
    assert seen.shape == (1, 16, 16) and seen[0, :, 9:].min() > 200 and seen[0, :, :7].max() < 55, "the right half is white"


def test_longer_clips_are_refused_cut_or_thinned(tmp_path: Path) -> None:
    place, frames = with_validation(tmp_path), pictures(7, 7)
    write_frames(place / "a", frames)
    write_frames(place / "b", frames)
    assert_input_error(lambda: read(options(tmp_path, longest=6)), "2 of", "val/run/a", "val/run/b", "more than 6 frames")
    for longer, kept in (("truncate", [0, 1, 2, 3]), ("spread", [0, 2, 4, 6])):
        found = read(options(tmp_path, longest=4, longer=longer))
        assert np.array_equal(clip(found), frames[kept].transpose(0, 3, 1, 2))
    assert spread(5, 1) == [0] and spread(3, 5) == [0, 1, 2]


def test_all_broken_and_empty_clips_are_named_at_once_whatever_their_split(tmp_path: Path) -> None:
    place = with_validation(tmp_path)
    write_frames(place / "a", pictures(2, 7))
    cut(place / "a/1.png", 60)
    for number in ("0", "1"):
        (tmp_path / "clips/train/run" / number / "1.png").write_bytes(b"nothing")
    assert_input_error(lambda: read(options(tmp_path), "train"), "val/run/a/1.png", "train/run/0/1.png")
    for name in ("x", "y"):
        (place.parent / "jump" / name / "deeper").mkdir(parents=True)
    assert_input_error(lambda: read(options(tmp_path)), "jump/x", "jump/y", "has no frames")


@video
def test_videos_that_are_cut_off_or_have_no_pictures_are_named_at_once(tmp_path: Path) -> None:
    place = with_validation(tmp_path)
    for name, codec in (("a.mp4", "mpeg4"), ("b.avi", "mpeg4"), ("e.mkv", "ffv1")):
        write_video(place / name, pictures(50, 7, (32, 32)), codec=codec)
        cut(place / name, (place / name).stat().st_size // 2)
    (place / "c.webm").write_bytes(b"nothing")
    (place / "d.mov").touch()
    assert_input_error(lambda: read(options(tmp_path)), "5 of", "a.mp4", "b.avi", "c.webm", "d.mov", " of its 5.00 s can be")


def test_a_video_file_without_the_package_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (with_validation(tmp_path) / "a.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnreachableError, match=r"pip install 'tutelage\[video\]'"):
        read(options(tmp_path))


def test_images_outside_of_a_clip_and_classes_without_one_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "clips")
    Image.new("RGB", (8, 8)).save(tmp_path / "clips/run/loose.png")
    assert_input_error(lambda: read(options(tmp_path)), "run/loose.png", "need a folder of their own")
    (tmp_path / "clips/run/loose.png").unlink()
    (tmp_path / "clips/sit").mkdir()
    assert_input_error(lambda: read(options(tmp_path)), "clips/sit", "has no clip")


def test_unlabelled_clips_are_training_examples_and_what_is_left_out_is_noted(tmp_path: Path) -> None:
    write(tmp_path / "clips", 4)
    write_frames(tmp_path / "clips/unlabelled/x", pictures(2, 50))
    (tmp_path / "clips/run/notes.txt").touch()
    (tmp_path / "clips/run/.hidden").mkdir()
    found = read(options(tmp_path), "train")
    assert labels(found)[-1] == UNKNOWN and len(found) == 5
    assert "left out the files that are in no clip: 1 with .txt" in found.notes


def test_clips_are_decoded_once_and_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "clips", 5)
    given = options(tmp_path)
    first = read(given)
    monkeypatch.setattr(clip_folder, "frames_of", None)
    assert np.array_equal(clip(read(given)), clip(first))
    with pytest.raises(TypeError):
        read(given | {"longest": 5})


@pytest.mark.parametrize("name", ["frames.bin", "about.json"])
def test_a_damaged_cache_is_an_error_that_names_its_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "clips", 5)
    given = options(tmp_path)
    first = clip(read(given))
    for entry in (tmp_path / "cache").iterdir():
        (entry / name).write_bytes((entry / name).read_bytes()[:-5])
    with pytest.raises(InputError, match=r"cache/[0-9a-f]{16}: the cached examples are damaged.*Remove this folder"):
        read(given)
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(clip(read(given)), first)


def test_every_split_is_normalised_by_training(tmp_path: Path) -> None:
    write(tmp_path / "clips", 5)
    given = options(tmp_path)
    fields = [read(given, split).inputs["frames"] for split in ("train", "validation", "test")]
    values = fields[0].values
    assert isinstance(values, Ragged)
    numbers = values.values.float().transpose(0, 1).flatten(1)
    for one in fields:
        assert one.mean == pytest.approx(numbers.mean(dim=1).tolist(), rel=1e-5)
        assert one.std == pytest.approx(numbers.std(dim=1, correction=0).tolist(), rel=1e-5)


def test_frames_of_several_images_and_those_that_vanish_name_a_way_out_that_clips_have(tmp_path: Path) -> None:
    place = with_validation(tmp_path)
    write_frames(place / "a", pictures(2, 7))
    one, other = (Image.fromarray(frame) for frame in pictures(2, 8))
    one.save(place / "a/2.gif", save_all=True, append_images=[other])
    assert_input_error(lambda: read(options(tmp_path)), "a/2.gif: has 2 frames or pages. Save each as an image of its own")
    (place / "a/2.gif").unlink()
    faint = np.concatenate([np.full((8, 8, 3), 255, np.uint8), pictures(1, 9)[0][..., :1]], axis=2)
    Image.fromarray(faint).save(place / "a/2.png")
    assert_input_error(lambda: read(options(tmp_path)), "a/2.png: vanishes on a white background. Set 'background: black'")
    assert clip(read(options(tmp_path, background="black")))[2].max() > 200
