"""Where the clips of a folder are: its video files, and its folders of frames; hidden ones are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tutelage.data._folders import folders, is_hidden
from tutelage.data._image_files import ENDINGS as IMAGE_ENDINGS
from tutelage.errors import InputError

ENDINGS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv", ".gif"}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip: a video file, or a folder with the images of its `frames`, in their order."""

    path: Path
    frames: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the clip."""
        return self.frames or (self.path,)


def clips_in(folder: Path, is_training: bool) -> list[Clip]:
    """Return the clips in the folder of a class, sorted.

    Raises `InputError` for all folders of frames without a frame at once, for images outside of such folders, and for a
    training folder without clips.
    """
    inside = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    clips = [Clip(path=path) for path in inside if path.is_file() and path.suffix.lower() in ENDINGS]
    clips += [Clip(path=path, frames=_frames_in(path)) for path in inside if path.is_dir()]
    if empty := [clip.path for clip in clips if clip.path.is_dir() and not clip.frames]:
        listed = ", ".join(map(str, empty[:20])) + (f" and {len(empty) - 20:,} more" if len(empty) > 20 else "")
        raise InputError(f"{listed}: has no frames. The images of a clip's frames stand directly in its folder. Remove it.")
    if loose := [path for path in inside if path.suffix.lower() in IMAGE_ENDINGS - ENDINGS]:
        raise InputError(f"{loose[0]}: stands outside of a clip. Each clip's frames need a folder of their own in {folder}.")
    if is_training and not clips:
        listed = ", ".join(sorted(ENDINGS))
        raise InputError(
            f"{folder}: has no clip: a folder of frames, or a video file ({listed}). Add some, or remove the folder."
        )
    return sorted(clips, key=lambda clip: clip.path)


def _frames_in(folder: Path) -> tuple[Path, ...]:
    """Return the images directly in a folder, in the order of the numbers in their names: frame2.png before frame10.png."""
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path.is_file()]
    return tuple(sorted((path for path in images if not is_hidden(path.name)), key=lambda path: _in_order(path.name)))


def _in_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key by which names are sorted with their numbers as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)], name


def left_out(root: Path, clips: Iterable[Clip], beside: Iterable[Path]) -> list[str]:
    """Return sentences on what below `root` is not read: folders `beside` the splits, and files that are in no clip."""
    read, notes = {file for clip in clips for file in clip.files}, []
    if names := sorted(path.name for path in beside):
        notes.append(f"left out the folders beside the splits: {', '.join(names)}")
    others = Counter(path.suffix.lower() or "no ending" for path in _files_in(root) if path not in read)
    if others:
        listed = ", ".join(f"{count:,} with {ending}" for ending, count in sorted(others.items()))
        notes.append(f"left out the files that are in no clip: {listed}")
    return notes


def _files_in(root: Path) -> list[Path]:
    within = [path for path in root.rglob("*") if path.is_file()]
    return [path for path in within if not any(is_hidden(part) for part in path.relative_to(root).parts)]


def beside_splits(root: Path, roots: Iterable[Path]) -> list[Path]:
    """Return the folders of `root` that are not among those of the splits; none if there are no splits."""
    known = set(roots)
    return [root / name for name in folders(root) if known and root / name not in known]
