"""Find and decode image files, anti-aliased to a square; the error for a damaged one has its path."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from trainers.errors import UnreadableInput

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_PIXELS", "SUFFIXES", "image_files", "open_image", "square"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
MAX_PIXELS = 50_000_000  # more than any camera's picture of a class; a few hundred bytes of PNG can claim 10¹⁰


def image_files(folder: Path | str) -> tuple[str, ...]:
    """Return the paths of the image files directly in a folder, by suffix, ordered by name; hidden ones left out.

    They are strings, since 60,000 `Path`s cost half a second.
    """
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.name[0] != "." and e.is_file())
    return tuple(os.path.join(folder, name) for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


def open_image(path: Path | str, mode: str) -> Image.Image:
    """Read and decode one image file.

    Args:
        path: a PNG, JPEG, BMP or WebP file; what the file holds decides, not its suffix.
        mode: Pillow mode to convert to, "L" or "RGB"; what is transparent becomes white.

    Raises:
        UnreadableInput: with the path, where the file is missing, damaged, of another kind, of more than 8 bits
            a channel, or larger than `MAX_PIXELS` when decoded (its size is read before any pixel is).
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter, and an error
            with Image.open(path, formats=("PNG", "JPEG", "BMP", "WEBP")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableInput(
                        f"image {path} is {image.width}×{image.height} pixels; at most {MAX_PIXELS:,} are decoded."
                    )
                return _converted(image, mode, path)
    except UnreadableInput:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableInput(f"image {path} is too large to decode ({error}).") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
        raise UnreadableInput(f"image {path} is damaged or not an image ({error}).") from error


def _converted(image: Image.Image, mode: str, path: Path | str) -> Image.Image:
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # Pillow would clip to 255, which leaves white
        raise UnreadableInput(f"image {path} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits.")
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return paper.convert(mode)
    image.load()
    return image if image.mode == mode else image.convert(mode)


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "height width *channel"]:
    """Resize the short side to `size` with Pillow's LANCZOS filter (anti-aliased), then crop the centre."""
    from PIL import Image

    short = min(image.size)
    if short != size:
        width, height = (max(size, round(side * size / short)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    if image.size != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)
