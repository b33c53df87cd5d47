"""The images in a folder, those that a document in it names, and what else it has; hidden files are left out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from tutelage.data import SplitName
from tutelage.data._folders import folders, is_file, is_hidden

ENDINGS = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def images_in(folder: Path) -> list[Path]:
    """Return the images in `folder` and the folders within it, sorted."""
    return sorted(path for path in _files_in(folder) if path.suffix.lower() in ENDINGS)


def _files_in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and not any(is_hidden(part) for part in path.relative_to(folder).parts):
            yield path


def misnamed(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return what is wrong with the images that a document in `folder` names, as a sentence for each that cannot be read.

    They are those outside of the folder, which another machine or copy does not have, and those that are not there.
    """
    outside = {name for name in names if Path(name).is_absolute() or ".." in Path(name).parts}
    found = {
        name: f"{name!r} is no path within {folder}. Put the image there, and write its path from there." for name in outside
    }
    absent = [name for name in names if name not in outside and not is_file(folder / name)]
    elsewhere = {_bare(path.name): path.relative_to(folder) for path in images_in(folder)} if absent else {}
    for name in absent:
        hint = f" Did you mean '{elsewhere[_bare(name)]}'?" if _bare(name) in elsewhere else ""
        found[name] = f"there is no image {folder / name}.{hint or ' Add it, or remove its entry.'}"
    return found


def unnamed(folder: Path, named: Collection[Path], file: Path) -> tuple[str, ...]:
    """Return a sentence on the images in a folder that its `file` does not name; nothing without any."""
    count = len(set(images_in(folder)) - set(named))
    return (f"left out {count:,} images that {file} does not name",) if count else ()


def _bare(name: str) -> str:
    """Return the last part of a path, of Windows too, in small letters, with each letter and its accents as one character."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2]).casefold()


def _is_odd(path: Path, root: Path, class_roots: Collection[Path]) -> bool:
    """Return whether a path is not read as it is no file: a link to a folder within a class or to nothing, or a pipe."""
    if path.is_file() or any(is_hidden(part) for part in path.relative_to(root).parts):
        return False
    return not path.is_dir() or (path.is_symlink() and path.parent not in (root, *class_roots))


def left_out(root: Path, roots: Mapping[SplitName, Path]) -> list[str]:
    """Return sentences on what is not read: folders beside the splits, images outside of class folders, other files."""
    notes = []
    if beside := [name for name in folders(root) if roots and root / name not in roots.values()]:
        notes.append(f"left out the folders beside the splits: {', '.join(beside)}")
    others = Counter(path.suffix.lower() or "no ending" for path in _files_in(root) if path.suffix.lower() not in ENDINGS)
    if others:
        listed = ", ".join(f"{count:,} with {ending}" for ending, count in sorted(others.items()))
        notes.append(f"left out the files that are no images: {listed}")
    class_roots = list(roots.values()) or [root]
    if odd := sorted(path for path in root.rglob("*") if _is_odd(path, root, class_roots)):
        first = odd[0].relative_to(root)
        notes.append(f"left out links to folders or to nothing, pipes and the like: {len(odd):,}, such as {first}")
    loose = [
        path for one in class_roots for path in one.iterdir() if path.suffix.lower() in ENDINGS and not is_hidden(path.name)
    ]
    return [*notes, f"left out {len(loose):,} images outside of the class folders"] if loose else notes
