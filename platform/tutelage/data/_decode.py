"""An image file as an array of its colours, as a person would see it: upright, and on a background where it is transparent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tutelage.errors import InputError

_WITH_FRAMES = ("GIF", "PNG", "TIFF", "WEBP")  # a phone's JPEG (MPO) has previews as further frames
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION, _UPRIGHT = 0x0112, 1  # EXIF's tag of how an image is turned, and its value for one that is not
_OF_FRAMES = {  # what to do about an image of several frames
    "refuse": "Set 'animated: first', or remove the image.",
    "never": "Save each as an image of its own, or remove the image.",
}


def decoded(path: Path, side_px: int, not_rgb: str, background: str, animated: str) -> np.ndarray:
    """Return an image as uint8 `[3, side, side]`: turned by its EXIF orientation, the shorter side scaled, the centre cropped.

    Raises `InputError` as `upright` does.
    """
    return cropped(upright(path, not_rgb, background, animated), side_px)


def upright(path: Path, not_rgb: str, background: str, animated: str) -> Image.Image:
    """Return an image in RGB, turned by its EXIF orientation.

    Raises `InputError` for what is no image, is not RGB (unless `not_rgb` is convert), has several frames (unless `animated` is
    first; it is never where a data source has no such option), or vanishes on the background.
    """
    try:
        with Image.open(path) as file:
            if file.mode != "RGB" and not_rgb == "refuse":
                raise InputError(f"{path}: is {file.mode}, not RGB. Set 'not_rgb: convert', or remove the image.")
            frames = getattr(file, "n_frames", 1) if file.format in _WITH_FRAMES else 1
            if frames > 1 and animated in _OF_FRAMES:
                raise InputError(f"{path}: has {frames} frames or pages. {_OF_FRAMES[animated]}")
            return _rgb(ImageOps.exif_transpose(file), path, background)
    except InputError:
        raise
    except Exception as error:  # a broken image may raise anything, as SyntaxError does
        raise InputError(f"{path}: cannot be read as an image ({error}). Replace it, or remove it.") from error


def is_turned(path: Path) -> bool:
    """Return whether the EXIF orientation of a readable image turns or mirrors it."""
    with Image.open(path) as file:
        return file.getexif().get(_ORIENTATION, _UPRIGHT) in range(_UPRIGHT + 1, 9)


def _rgb(image: Image.Image, path: Path, background: str) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise InputError(
            f"{path}: has grey levels of 32 bits ({image.mode}), whose black and white are unknown. Save it with 8 or 16 bits."
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, background), with_alpha).convert("RGB")
    if _is_uniform(flat) and not _is_uniform(with_alpha):
        other = "black" if background == "white" else "white"
        raise InputError(f"{path}: vanishes on a {background} background. Set 'background: {other}', or remove the image.")
    return flat


def _is_uniform(image: Image.Image) -> bool:
    lowest, highest = zip(*image.getextrema(), strict=True)
    return bool(lowest == highest)


def cropped(image: Image.Image, side: int) -> np.ndarray:
    """Return an image in RGB or grey as uint8 `[3 or 1, side, side]`: the shorter side scaled, the centre cropped."""
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.atleast_3d(np.asarray(image.crop((left, top, left + side, top + side))))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
