from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.common import assert_input_error, assert_labels_are_retained, assert_well_split, cut
from tests.plain import Plain
from tutelage.data import idx


def read(config: idx.Config, seed: int, split: Any) -> Plain:
    return Plain(idx.read(config, seed, split))


CLASSES = 4


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 6, 5), dtype=np.uint8)
    return pixels, np.arange(count, dtype=np.uint8) % CLASSES


def write(path: Path, array: np.ndarray, code: int = 8) -> None:
    content = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def example(folder: Path, ending: str = "", prefix: str = "") -> dict[str, Any]:
    for half, count, seed in (("train", 80, 0), ("t10k", 16, 1)):
        pixels, labels = images(count, seed)
        write(folder / f"{prefix}{half}-images-idx3-ubyte{ending}", pixels)
        write(folder / f"{prefix}{half}-labels-idx1-ubyte{ending}", labels)
    return {"path": str(folder), "prefix": prefix, "validation_share": 0.2}


@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_test_split_is_the_official_one(tmp_path: Path, ending: str, prefix: str) -> None:
    pixels, labels = images(16, 1)
    test = read(idx.Config(**example(tmp_path, ending, prefix)), 0, "test")
    assert test.inputs.dtype == torch.uint8
    assert np.array_equal(test.inputs.numpy(), pixels[:, None])
    assert test.labels.flatten().tolist() == labels.tolist()
    assert test.class_names == ("0", "1", "2", "3")
    assert len(test.mean) == 1


def test_it_is_split_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_well_split(lambda seed, split: read(idx.Config(**options), seed, split), 0.2, drawn=80)


def test_numbers_other_than_uint8_become_float32(tmp_path: Path) -> None:
    options, pixels = example(tmp_path), images(16, 1)[0].astype(">i2")
    pixels -= 300
    write(tmp_path / "t10k-images-idx3-ubyte", pixels, code=0x0B)
    test = read(idx.Config(**options), 0, "test")
    assert test.inputs.dtype == torch.float32
    assert np.array_equal(test.inputs.numpy(), pixels[:, None].astype(np.float32))


def test_classes_that_do_not_begin_at_zero_retain_their_names(tmp_path: Path) -> None:
    options = example(tmp_path)
    for half, count in (("train", 80), ("t10k", 16)):
        write(tmp_path / f"{half}-labels-idx1-ubyte", images(count, 0)[1] + 1)
    test = read(idx.Config(**options), 0, "test")
    assert test.class_names == ("1", "2", "3", "4")
    assert test.labels.flatten().tolist()[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_that_is_cut_off_is_an_error_with_its_bytes(tmp_path: Path, ending: str) -> None:
    options, name = example(tmp_path, ending), f"train-images-idx3-ubyte{ending}"
    cut(tmp_path / name, 1_000)
    assert_input_error(
        lambda: read(idx.Config(**options), 0, "train"), name, "cut off", "80 × 6 × 5", "need 2,416 bytes", "and it has"
    )


@pytest.mark.parametrize("kept", [0, 3, 9])
def test_a_cut_off_header_is_an_error_with_its_size(tmp_path: Path, kept: int) -> None:
    options = example(tmp_path)
    cut(tmp_path / "train-images-idx3-ubyte", kept)
    assert_input_error(lambda: read(idx.Config(**options), 0, "train"), "cut off in its header", f"it has {kept} bytes")


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    options = example(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"<!DOCTYPE html>" * 9)
    assert_input_error(lambda: read(idx.Config(**options), 0, "train"), "not an IDX file", "3c 21 44 4f")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"<!DOCTYPE html>" * 9)
    assert_input_error(lambda: read(idx.Config(**options), 0, "train"), "cannot be read as gzip")


def test_a_test_label_outside_the_training_classes_is_an_error_with_its_row(tmp_path: Path) -> None:
    options, labels = example(tmp_path), images(16, 1)[1]
    labels[[5, 9]] = 7
    write(tmp_path / "t10k-labels-idx1-ubyte", labels)
    assert_input_error(
        lambda: read(idx.Config(**options), 0, "test"), "t10k-labels", "row 5 ", "is 7", "4 training classes", "2 rows"
    )


def test_images_and_labels_must_be_equal_in_number(tmp_path: Path) -> None:
    options = example(tmp_path)
    write(tmp_path / "train-labels-idx1-ubyte", images(79, 0)[1])
    assert_input_error(lambda: read(idx.Config(**options), 0, "train"), "80 examples and train-labels-idx1-ubyte 79 labels")


def test_missing_files_are_errors(tmp_path: Path) -> None:
    options = example(tmp_path, prefix="emnist-letters-")
    assert_input_error(
        lambda: read(idx.Config(path=str(tmp_path)), 0, "train"), "neither train-labels-idx1-ubyte", "emnist", "'prefix'"
    )
    assert_input_error(lambda: read(idx.Config(path=str(tmp_path / "no" / "such")), 0, "train"), "not there; nor is")
    write(tmp_path / "emnist-letters-train-labels-idx1-ubyte", np.zeros(80, np.uint8))
    assert_input_error(lambda: read(idx.Config(**options), 0, "train"), "only the class '0'")


def test_labels_are_retained_by_class_and_seed(tmp_path: Path) -> None:
    options = example(tmp_path)
    assert_labels_are_retained(lambda more, seed, split: read(idx.Config(**options, **more), seed, split))


def test_a_nan_pixel_and_a_file_without_images_are_errors(tmp_path: Path) -> None:
    options, pixels = example(tmp_path), images(80, 0)[0].astype(">f4")
    pixels[44, 2, 2] = np.nan
    write(tmp_path / "train-images-idx3-ubyte", pixels, code=0x0D)
    assert_input_error(
        lambda: read(idx.Config(**options), 0, "train"), "train-images-idx3-ubyte: the file holds nan in row 44 "
    )
    write(tmp_path / "train-images-idx3-ubyte", images(80, 0)[1])
    assert_input_error(
        lambda: read(idx.Config(**options), 0, "train"), "train-images-idx3-ubyte: has 1 dimension", "right file"
    )


def test_a_gzipped_file_is_unpacked_no_further_than_its_header_states(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 1]) + (10).to_bytes(4, "big")
    (tmp_path / "swollen-idx1-ubyte.gz").write_bytes(gzip.compress(header + bytes(50_000_000)))
    tracemalloc.start()
    assert_input_error(lambda: idx._read(tmp_path / "swollen-idx1-ubyte.gz"), "longer than its header states", "at least 19")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_header_that_states_more_than_the_file_can_hold_is_an_error_before_memory_is_taken(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + b"\xff\xff\xff\xff" * 3
    (tmp_path / "images").write_bytes(header + bytes(100))
    (tmp_path / "images.gz").write_bytes(gzip.compress(header + bytes(100)))
    for name in ("images", "images.gz"):
        assert_input_error(lambda name=name: idx._read(tmp_path / name), "cut off: 4294967295 × 4294967295")  # type: ignore[misc]


def test_all_broken_files_are_named_at_once_whatever_their_split(tmp_path: Path) -> None:
    options = example(tmp_path)
    cut(tmp_path / "train-images-idx3-ubyte", 1_000)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\x00\x00\x77\x01" + bytes(4))
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    cut(tmp_path / "t10k-labels-idx1-ubyte", 3)
    for split in ("train", "validation", "test"):
        assert_input_error(
            lambda split=split: read(idx.Config(**options), 0, split),  # type: ignore[misc]
            "4 of 4 files cannot be read:", "train-images-idx3-ubyte: cut off", "train-labels-idx1-ubyte: not an IDX file",
            "neither t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte: cut off in its header",
        )  # fmt: skip


def test_labels_that_do_not_fit_are_named_for_both_halves(tmp_path: Path) -> None:
    options = example(tmp_path)
    write(tmp_path / "train-labels-idx1-ubyte", images(79, 0)[1])
    write(tmp_path / "t10k-labels-idx1-ubyte", images(15, 0)[1])
    assert_input_error(lambda: read(idx.Config(**options), 0, "test"), "2 of 2 halves", "79 labels", "15 labels")
