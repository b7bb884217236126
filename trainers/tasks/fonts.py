"""Faces inside matplotlib, outlines of their characters, and pictures of those: vectors all the way to the last pixel.

Outlines are read unhinted and unscaled from the font files, moved as vectors, and filled once by matplotlib's Agg at
the size of the picture. Nothing is resampled, and no hinting, system font or FreeType version has a say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from metaprobe.trainers.errors import UnreadableInput

__all__ = ["FACES", "Face", "Shape", "draw", "faces", "fonts_hash"]

# In the order of preference: the first face that has a character shows its reference shape.
FACES = (
    *("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"),
    *("DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol"),
    *("DejaVuSans-Oblique", "DejaVuSerif-Italic", "DejaVuSansMono-Oblique", "STIXGeneralItalic"),
    *("DejaVuSans-BoldOblique", "DejaVuSerif-BoldItalic", "DejaVuSansMono-BoldOblique", "STIXGeneralBolIta"),
    *("cmr10", "cmss10", "cmtt10", "cmb10", "cmti10"),
)
_ALPHANUMERIC = frozenset(map(ord, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))


_CLOSE = 79  # matplotlib's CLOSEPOLY, whose coordinates mean nothing


@dataclass(frozen=True, eq=False)
class Shape:
    """An outline: vertices (vertex, 2) with y up, and matplotlib's path code of each (vertex,)."""

    vertices: Float64[np.ndarray, "vertex 2"]
    codes: UInt8[np.ndarray, " vertex"]

    @cached_property
    def points(self) -> Float64[np.ndarray, "point 2"]:
        """The vertices that mean a place: all but those that close a contour."""
        return self.vertices[self.codes != _CLOSE]


@dataclass(frozen=True, eq=False)
class Face:
    """One font file of matplotlib.

    Attributes:
        name: the file's name without suffix ("DejaVuSerif-Bold").
        path: the file.
    """

    name: str
    path: Path

    @cached_property
    def characters(self) -> frozenset[int]:
        """Code points that the face really draws: in its character map, and not as glyph 0, the "missing" box."""
        mapped = frozenset(code for code, index in self._font.get_charmap().items() if index)
        # Computer Modern's files put TeX's own signs at other characters' code points; letters and digits are right.
        return mapped & _ALPHANUMERIC if self.name.startswith("cm") else mapped

    def shape(self, code: int) -> Shape | None:
        """Return the outline of a character, its box centred on the origin and the longer side scaled to 1.

        The box is that of the control points, which fonts place on the extremes. None for a character that is blank.
        """
        from matplotlib.ft2font import LoadFlags

        self._font.load_char(code, flags=LoadFlags.NO_SCALE)
        vertices, codes = self._font.get_path()
        drawn = vertices[codes != _CLOSE]
        if not len(drawn):
            return None
        low, high = drawn.min(0), drawn.max(0)
        longer = (high - low).max()
        return Shape((vertices - (low + high) / 2) / longer, codes) if longer > 0 else None

    @cached_property
    def _font(self):  # noqa: ANN202  (FT2Font, imported late)
        from matplotlib.ft2font import FT2Font

        return FT2Font(str(self.path))


def faces() -> tuple[Face, ...]:
    """Return the faces of `FACES`.

    Raises:
        UnreadableInput: where matplotlib's installation lacks one; the message names the file.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = tuple(Face(name, folder / f"{name}.ttf") for name in FACES)
    for face in found:
        if not face.path.is_file():
            raise UnreadableInput(
                f"font {face.path} is missing from matplotlib's installation; "
                "reinstall it: pip install --force-reinstall matplotlib"
            )
    return found


def fonts_hash(of: Sequence[Face]) -> str:
    """Return the SHA-256 over the bytes of the faces' files, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for face in of:
        digest.update(hashlib.sha256(face.path.read_bytes()).digest())
    return digest.hexdigest()


def draw(
    shapes: Sequence[Shape], transforms: Float64[np.ndarray, "image 3 3"], size: int
) -> UInt8[np.ndarray, "image size size"]:
    """Fill shapes, anti-aliased by area, ink 255 on 0.

    Args:
        shapes: one a picture.
        transforms: affine maps from the shapes' coordinates to pixels from the picture's centre, y up, (image, 3, 3).
        size: height = width of a picture, in pixels.
    """
    from matplotlib.backend_bases import GraphicsContextBase
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.path import Path as Outline
    from matplotlib.transforms import Affine2D

    sheet = RendererAgg(size, size * len(shapes), 72)
    context = GraphicsContextBase()
    context.set_linewidth(0)
    context.set_snap(False)
    for row, (shape, matrix) in enumerate(zip(shapes, transforms, strict=True)):
        moved = matrix.copy()
        moved[:2, 2] += size / 2, size * (len(shapes) - row - 0.5)  # Agg's y points up from the sheet's foot
        sheet.draw_path(context, Outline(shape.vertices, shape.codes), Affine2D(moved), (0.0, 0.0, 0.0, 1.0))
    alpha = np.asarray(sheet.buffer_rgba())[:, :, 3]
    return alpha.reshape(len(shapes), size, size).copy()
