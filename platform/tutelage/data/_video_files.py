"""The frames of a clip as an array: of a video file, by PyAV (FFmpeg's libraries), or of a folder of images.

PyAV is an extra: `pip install tutelage[video]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from tutelage.data._clip_files import Clip
from tutelage.data._decode import cropped, upright
from tutelage.errors import InputError, UnreachableError

_EARLY = 1e-6  # seconds by which a frame may precede the instant that it stands for, because of rounding
_PER_SECOND = 1_000_000  # units of a file's own duration
_LEAST_SHARE = 0.9  # of a video's stated length that can be decoded; less is a video that was cut off


class Source(NamedTuple):
    """A clip as it is stored: pixels of its first frame, and frames per second (0: it has no rate)."""

    width: int
    height: int
    per_second: float


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How clips are stored: sides, colours, which frames of a video, and at most how many."""

    side_px: int
    colours: Literal["rgb", "grey"]
    per_second: float | None
    longest: int
    longer: Literal["refuse", "truncate", "spread"]
    background: Literal["white", "black"] = "white"


def frames_of(clip: Clip, wanted: Wanted) -> tuple[np.ndarray, Source]:
    """Return the frames of a clip, uint8 `[frames, channels, side_px, side_px]`, and how it is stored.

    Frames are upright, their shorter side scaled, their centre cropped. Raises `InputError` for a file that cannot be
    decoded to its end, for a clip without frames, and for one of more than `longest` frames unless `longer` allows it.
    """
    images = _of_folder(clip, wanted.background) if clip.frames else _of_video(clip.path, wanted.per_second)
    most = {"refuse": wanted.longest + 1, "truncate": wanted.longest, "spread": None}[wanted.longer]
    found, sources = [], []
    for image, source in islice(images, most):
        found.append(cropped(image.convert("L") if wanted.colours == "grey" else image, wanted.side_px))
        sources.append(source)
    if not found:
        raise InputError(f"{clip.path}: has no frames. Replace it, or remove it.")
    if len(found) > wanted.longest and wanted.longer == "refuse":
        raise InputError(
            f"{clip.path}: has more than {wanted.longest:,} frames, the option 'longest'. Raise it, lower "
            "'frames_per_second', or set 'longer' to truncate (the first frames) or spread (frames at equal distances)."
        )
    return np.stack([found[number] for number in spread(len(found), wanted.longest)]), sources[0]


def spread(count: int, most: int) -> list[int]:
    """Return all indices below `count`, or `most` of them at equal distances, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / max(1, most - 1)) for number in range(most)]


def _of_folder(clip: Clip, background: str) -> Iterator[tuple[Image.Image, Source]]:
    for path in clip.frames:
        image = upright(path, "convert", background, "never")
        yield image, Source(*image.size, 0.0)


def _of_video(path: Path, per_second: float | None) -> Iterator[tuple[Image.Image, Source]]:
    """Yield the frames of a video; with `per_second`, the first frame at or after each instant of that rate."""
    due = 0.0
    for time, frame, rate in _decoded(path, _reader(path)):
        if per_second is None or time >= due - _EARLY:
            due = _next_instant(due, time, per_second)
            yield _picture(frame), Source(frame.width, frame.height, rate)


def _decoded(path: Path, reader: Any) -> Iterator[tuple[float, Any, float]]:
    """Yield the seconds since the first frame, the frame, and the rate of the video. Raises `InputError` for a damaged file."""
    first = time = end = 0.0
    try:
        with reader.open(str(path)) as file:
            if not file.streams.video:
                raise InputError(f"{path}: has no pictures. Replace it, or remove it.")
            stream = file.streams.video[0]
            rate = float(stream.average_rate or 0)
            for number, frame in enumerate(file.decode(stream)):
                if frame.is_corrupt:
                    raise InputError(f"{path}: frame {number} (the first is 0) is damaged. Replace the file, or remove it.")
                time = number / (rate or 1.0) if frame.time is None else frame.time
                first = first if number else time
                end = time + float(frame.duration * frame.time_base if frame.duration else 1 / (rate or 1.0))
                yield time - first, frame, rate
            _check_length(path, end - first, file, stream)
    except InputError:
        raise
    except Exception as error:  # a broken file may raise anything
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be decoded ({why}). Replace it, or remove it.") from error


def _check_length(path: Path, decoded_s: float, file: Any, stream: Any) -> None:
    """Raise `InputError` for a video of which a good part of its stated length could not be decoded.

    Some files state the length of the whole only, which is that of the video if there is nothing else in it.
    """
    stated_s = float((stream.duration or 0) * (stream.time_base or 0))
    if not stated_s and len(file.streams) == 1:
        stated_s = (file.duration or 0) / _PER_SECOND
    if decoded_s < _LEAST_SHARE * stated_s:
        raise InputError(
            f"{path}: {decoded_s:.2f} of its {stated_s:.2f} s can be decoded: it was cut off, or is damaged. Replace it, or "
            "remove it."
        )


def _next_instant(due: float, time: float, per_second: float | None) -> float:
    """Return the first instant of the rate that is later than `due` and than the frame at `time`."""
    if per_second is None:
        return due
    return (int((time + _EARLY) * per_second) + 1) / per_second


def _picture(frame: Any) -> Image.Image:
    """Return a decoded frame in RGB, turned by the video's orientation."""
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counterclockwise
    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, turns)))


def _reader(path: Path) -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise UnreachableError(
            f"{path}: the package av, which reads video files, is not installed. Install it: pip install 'tutelage[video]'; or "
            "save the frames as images, in a folder a clip."
        ) from error
    return av
