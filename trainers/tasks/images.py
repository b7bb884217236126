"""Find and decode image files, anti-aliased to a square; the error for a damaged one has its path.

Of the formats read here PNG alone has checksums, and they are checked; a damaged JPEG, BMP, WebP or TIFF may decode.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.imageset import is_plain

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MAX_PIXELS", "SUFFIXES", "check_name", "folders_in", "image_files", "open_image", "scanned", "square",
]  # fmt: skip

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 50_000_000  # more than any camera's picture of a class; a few hundred bytes of PNG can claim 10¹⁰
_MAX_BYTES = 256 << 20  # of a file; the largest that is not compressed has 4 bytes a pixel
_MAX_SIDES = 64  # times its short side: what of the long side is looked at before the centre is cropped
_PNG = b"\x89PNG\r\n\x1a\n"


def image_files(folder: Path | str) -> tuple[str, ...]:
    """Return the paths of the image files directly in a folder, by suffix, ordered by name; hidden ones left out.

    They are strings, since 60,000 `Path`s cost half a second.
    """
    with scanned(folder) as entries:
        names = sorted(e.name for e in entries if e.name[0] != "." and e.is_file())
    return tuple(os.path.join(folder, name) for name in names if os.path.splitext(name)[1].lower() in SUFFIXES)


@contextlib.contextmanager
def scanned(folder: Path | str) -> Iterator[Iterable[os.DirEntry[str]]]:
    """Yield the entries of a folder; what the system says of it or of an entry becomes `UnreadableInput`."""
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:  # also of an entry, such as a link to itself
        raise UnreadableInput(f"{visible(str(error.filename))}: cannot be read: {error.strerror}.") from error


def folders_in(folder: Path | str) -> list[str]:
    """Return the names of the folders (and links to some) directly in a folder, sorted; hidden ones left out.

    Raises:
        UnreadableInput: a name is not UTF-8 or has control characters: names of classes go into files and figures.
    """
    with scanned(folder) as entries:
        names = sorted(e.name for e in entries if e.name[0] != "." and e.is_dir())
    for name in names:
        check_name(folder, name)
    return names


def check_name(folder: Path | str, name: str) -> None:
    """Refuse a folder, as `UnreadableInput`, whose name is not UTF-8 or has control characters."""
    if not is_plain(name):
        shown = visible(os.path.join(folder, name))
        raise UnreadableInput(f"folder {shown} has a name that is not UTF-8 or has control characters; rename it.")


def open_image(path: Path | str, mode: str, content: bytes | None = None) -> Image.Image:
    """Read and decode one image file, the first of its frames, upright where its EXIF data say how it was held.

    Args:
        path: a PNG, JPEG, BMP, WebP or TIFF file; what the file holds decides, not its suffix.
        mode: Pillow mode to convert to, "L" or "RGB"; what is transparent becomes white.
        content: the bytes of the file, where it lies in another; `path` is then what it is called in errors.

    Raises:
        UnreadableInput: with the path, where the file is missing, damaged, of another kind, of more than 8 bits
            a channel, of more than 256 MiB, or larger than `MAX_PIXELS` when decoded (its size is read before any
            pixel is).
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), open(path, "rb") if content is None else io.BytesIO(content) as file:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter, and an error
            warnings.filterwarnings("ignore", "Corrupt EXIF|Metadata Warning", UserWarning)  # no pixel is in those
            _check_file(file, path)
            with Image.open(file, formats=("PNG", "JPEG", "BMP", "WEBP", "TIFF")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableInput(
                        f"image {path} is {image.width}×{image.height} pixels; at most {MAX_PIXELS:,} are decoded."
                    )
                return _converted(image, mode, path)
    except UnreadableInput:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableInput(f"image {path} is too large to decode ({error}).") from error
    except Exception as error:  # Pillow raises of every kind on damaged bytes
        raise UnreadableInput(f"image {path} is damaged or not an image ({error}).") from error


def _check_file(file: IO[bytes], path: Path | str) -> None:
    """Refuse what is no image's file by its size, and a PNG whose chunks do not fit their checksums.

    Pillow leaves those of pixels to zlib, which it does not always run to its own checksum.
    """
    regular = isinstance(file, io.BytesIO) or stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    size = file.seek(0, os.SEEK_END) if regular else 0
    if not regular or size > _MAX_BYTES:
        raise UnreadableInput(f"image {path} has {size:,} bytes; at most {_MAX_BYTES:,} of a file are read.")
    file.seek(0)
    if file.read(len(_PNG)) == _PNG:
        kind = b""
        while kind != b"IEND":
            length = int.from_bytes(file.read(4), "big")
            content = file.read(min(length, _MAX_BYTES) + 4)
            if zlib.crc32(content) != int.from_bytes(checksum := file.read(4), "big") or len(checksum) < 4:
                raise ValueError("a chunk of it does not fit its checksum")
            kind = content[:4]
    file.seek(0)


def _converted(image: Image.Image, mode: str, path: Path | str) -> Image.Image:
    from PIL import Image, ImageOps

    if image.mode.startswith(("I", "F")):  # Pillow would clip to 255, which leaves white
        raise UnreadableInput(f"image {path} has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits.")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return paper.convert(mode)
    return image if image.mode == mode else image.convert(mode)


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "height width *channel"]:
    """Resize the short side to `size` with Pillow's LANCZOS filter (anti-aliased), then crop the centre.

    Of an image more than 64 times as long as it is wide the rest is cropped before: it could take any memory.
    """
    from PIL import Image

    short = min(image.size)
    if max(image.size) > _MAX_SIDES * short:
        width, height = (min(side, _MAX_SIDES * short) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    if short != size:
        width, height = (max(size, round(side * size / short)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    if image.size != (size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)
