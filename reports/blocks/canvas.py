"""The canvas: panels painted in one style, as the same SVG and the same PDF every time."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from metaprobe.reports.wording import INK
from metaprobe.trainers.files import write_bytes
from metaprobe.trainers.formats.text import typeset

__all__ = ["Drawing", "Key", "Sketch", "style", "svg_of", "tell"]

_RC: dict[str, Any] = {
    # Text stays text: it is small, searchable and read aloud. It is laid out in DejaVu Sans, which comes with
    # matplotlib and is wider than the interface fonts that replace it, so that a label never outgrows its place.
    **{"svg.fonttype": "none", "svg.hashsalt": "metaprobe", "pdf.fonttype": 42, "text.parse_math": False},
    **{"font.size": 8.5, "legend.fontsize": 8, "figure.titlesize": 9, "figure.titleweight": "bold"},
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "xtick.bottom", "ytick.left", "legend.frameon"), False),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    **{"axes.edgecolor": "#888888", "axes.linewidth": 0.7, "grid.color": "#e6e6e6", "grid.linewidth": 0.6},
    **{"axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "figure.constrained_layout.use": True},
    **{"lines.linewidth": 1.6, "lines.markersize": 4.5},
    "axes.ymargin": 0.08,  # of a flat panel 0.05 would cut the marks at its ends
}
_SVG = "{http://www.w3.org/2000/svg}"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_DPI = 300  # of PNG
_TOLD, _NEXT = "told:", "\N{SYMBOL FOR RECORD SEPARATOR}"


@dataclass(frozen=True)
class Key:
    """An entry of a legend."""

    label: str  # what it says
    colour: str  # of its mark
    marker: str = "o"  # matplotlib's name of its mark; "" for none
    line: Any = ""  # matplotlib's name or pattern of its line; "" for none
    open: bool = False  # whether its mark is drawn open

    def artist(self) -> Line2D:
        """Return it as matplotlib's legends take it."""
        size = {"_": 8.0, "|": 8.0, "s": 5.5}.get(self.marker, 4.5)
        mark = {"marker": self.marker, "markerfacecolor": "white" if self.open else self.colour, "markersize": size}
        return Line2D([], [], color=self.colour, linestyle=self.line or "none", label=self.label, **mark)


@dataclass(frozen=True)
class Sketch:
    """A panel whose readings are all read, ready to be painted on the page, and once more for a file."""

    title: str  # over it
    paint: Callable[[Axes], None]  # draws it on axes
    keys: tuple[Key, ...] = ()  # its entries of the figure's legend
    height: Callable[[float], float] | None = None  # in inches, from its width; None for three quarters of it
    finish: Callable[[Axes], None] | None = None  # draws what needs the final limits of the axes
    places: tuple[str, ...] = ()  # the names at its left, which a panel beside it needs not say again


@dataclass(frozen=True)
class Drawing:
    """A whole figure as a file, the same bytes for the same figure; it is painted only when one is asked for."""

    name: str  # prefix of its ids
    title: str  # for readers who do not see it; in the file's metadata, too, beside the command
    make: Callable[[], Figure]  # paints it; called in the house style
    command: str = ""  # what makes it again, of a file that stands by itself: that is white behind

    def svg(self) -> str:
        """Return it as the text of an SVG file."""
        with style():
            return svg_of(self._made(), self.name, self.title, self._again)

    def pdf(self) -> bytes:
        """Return it as a PDF file of one page."""
        out = io.BytesIO()
        told = {"Title": typeset(self.title), "Subject": self._again} if self.command else {}
        with style():
            nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
            FigureCanvasPdf(_printed(self._made())).print_pdf(out, metadata=nothing | told)
        return out.getvalue()

    def png(self) -> bytes:
        """Return it as a PNG file, fine enough for print."""
        out = io.BytesIO()
        told = {"Software": "metaprobe", "Description": typeset(self.title), "Comment": self._again}
        with style():
            figure = _printed(self._made())
            figure.set_dpi(_DPI)
            FigureCanvasAgg(figure).print_png(out, metadata=told)
        return out.getvalue()

    def write(self, path: Path) -> None:
        """Write it as SVG or, where the name of the file ends so, as PDF or PNG."""
        kinds = {".pdf": self.pdf, ".png": self.png}
        write_bytes(path, kinds.get(path.suffix.lower(), lambda: self.svg().encode())())

    @property
    def _again(self) -> str:
        return typeset(f"Made by: {self.command}") if self.command else ""

    def _made(self) -> Figure:
        figure = self.make()
        if self.command:
            figure.set_facecolor("white")
        return figure


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the house style inside the block; matplotlib's own settings, whatever they are, come back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield


def tell(artist: Artist, *texts: str) -> None:
    """Give an artist the words that a mouse over it shows; several texts are those of its single marks, in order."""
    artist.set_gid(_TOLD + _NEXT.join(text.replace(_NEXT, " ") for text in texts))


def svg_of(figure: Figure, name: str, title: str = "", description: str = "") -> str:
    """Return a figure as an SVG element for a page: no doctype, style rule, or id without this name as its prefix.

    Its title is for readers who do not see it; without one it is hidden from them. With a description, both are
    elements of it, too, as in a file that stands by itself.
    """
    out = io.StringIO()
    FigureCanvasSVG(_printed(figure)).print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    text = typeset(out.getvalue())  # what marks tell is in it, too, and XML has no place for control characters
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    ids = {own: f"{name}-{place}" for place, own in enumerate(used)}
    text = re.sub(r'(\bid="|url\(#|href="#)([^)"]+)', lambda m: m[1] + ids.get(m[2], m[2]), text)
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for element in list(root.iter()):
        for child in [child for child in element if child.tag in (f"{_SVG}metadata", f"{_SVG}style")]:
            element.remove(child)
        if (own := element.get("id", "")).startswith(_TOLD):
            _title(element, own.removeprefix(_TOLD).split(_NEXT))
        if own not in ids.values():
            element.attrib.pop("id", None)
        element.attrib.update({key: _short(key, value) for key, value in element.attrib.items()})
    for element in root.iter():
        styles = {mark.get("style", "") for mark in element} if len(element) > 1 else set()
        if len(styles) == 1 and all(mark.tag == f"{_SVG}use" for mark in element):  # said once for all marks
            element.set("style", styles.pop())
            for mark in element:
                mark.attrib.pop("style", None)
    root.attrib.pop("version", None)
    for tag, words in (("desc", description), ("title", typeset(title))) if description else ():
        root.insert(0, ElementTree.Element(f"{_SVG}{tag}"))
        root[0].text = words
    root.attrib |= {"role": "img", "aria-label": typeset(title)} if title else {"aria-hidden": "true"}
    # What matplotlib says in a style rule of its own, which would reach the whole page, and in every text.
    root.set("style", f"stroke-linejoin: round; stroke-linecap: butt; font-family: {_FONTS}")
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode")).strip() + "\n"


def _printed(figure: Figure) -> Figure:
    """Make visible what does not print in all texts of a figure: matplotlib stops at half surrogate pairs."""
    for artist in figure.findobj():
        if isinstance(artist, Axis):
            names = [label.get_text() for label in artist.get_ticklabels()]
            if (printed := [typeset(name) for name in names]) != names:
                artist.set_ticks(artist.get_ticklocs(), labels=printed)
        elif isinstance(artist, Text):
            artist.set_text(typeset(artist.get_text()))
    return figure


def _title(element: ElementTree.Element, texts: Sequence[str]) -> None:
    marks = [element]
    if len(texts) > 1:
        shapes = {mark for shapes in element.iter(f"{_SVG}defs") for mark in shapes.iter()}
        marks = [e for e in element.iter() if e.tag in (f"{_SVG}use", f"{_SVG}path") and e not in shapes]
    for mark, text in zip(marks, texts, strict=True):
        title = ElementTree.Element(f"{_SVG}title")
        title.text = text
        mark.insert(0, title)


def _short(key: str, value: str) -> str:
    if key == "style":
        return re.sub(r" ?font-family: [^;]+;?", "", value)
    if key in ("d", "x", "y", "transform", "points", "width", "height", "viewBox"):
        return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", " ".join(value.split()))
    return value
