"""Figures as bytes: matplotlib drawings made into the same SVG and the same PDF every time."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = [
    "ALGORITHM_COLOURS",
    "GROUP_MARKS",
    "INK",
    "LAYER_COLOURS",
    "PAPER",
    "Drawing",
    "canvas",
    "drawing",
    "label_ends",
    "style",
]

ALGORITHM_COLOURS: dict[str, str] = {
    "maml": "#0072b2",
    "anil": "#d55e00",
    "fomaml": "#009e73",
    "nil": "#e69f00",
    "multiclass": "#cc79a7",
    "multitask": "#56b4e9",
    "random": "#767676",
    "reptile": "#000000",
    "maml_head": "#999933",
    "tsa_maml": "#882255",
}
"""One colour an algorithm on every figure, from Okabe and Ito's palette for colour-blind readers; the last two are
from Tol's, which stays apart from theirs."""

GROUP_MARKS: tuple[tuple[str, str], ...] = (
    ("#e69f00", "o"),
    ("#0072b2", "^"),
    ("#009e73", "s"),
    ("#cc79a7", "D"),
    ("#56b4e9", "v"),
    ("#d55e00", "P"),
    ("#000000", "X"),
)
"""Colour and marker of each group of tasks, in order; both tell them apart."""

LAYER_COLOURS: dict[str, str] = {
    "conv1": "#86bfb3",
    "conv2": "#529d90",
    "conv3": "#25756a",
    "conv4": "#053f37",
    "head": "#aa3377",
}
"""The body from light to dark with its depth, the head in a colour of its own."""

INK = "#333333"
PAPER = "#000000"

_RC: dict[str, object] = {
    "svg.hashsalt": "metaprobe",
    # Text stays text: it is small, searchable and read aloud. It is laid out in DejaVu Sans, which comes with
    # matplotlib and is wider than the interface fonts that replace it, so that a label never outgrows its place.
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "errorbar.capsize": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Drawing:
    """A figure as it is written: `svg` a whole SVG element as text, `pdf` the bytes of a PDF file of one page."""

    svg: str
    pdf: bytes


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the house style inside the block; matplotlib's own settings, whatever they are, come back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # pyright: ignore[reportCallIssue, reportArgumentType]
        yield


def canvas(
    panels: int = 1, height: float = 2.9, *, rows: int = 1, width: float = 7.4, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `panels` side by side in each of its `rows`, and its panels, row by row.

    Sizes are in inches, 7.4 is the width of the page's column; `share_y` is for all panels.
    """
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.04))
    return figure, list(figure.subplots(rows, panels, sharey=share_y, squeeze=False).flat)


def drawing(name: str, figure: Figure, title: str, description: str) -> Drawing:
    """Return a figure as SVG and PDF, the same bytes for the same figure.

    Args:
        name: a word that prefixes every id, so that several figures can stand in one page.
        figure: the figure, drawn inside `style()`.
        title: a short name for readers of the SVG who do not see it.
        description: what it shows, for the same readers.
    """
    svg, pdf = io.StringIO(), io.BytesIO()
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return Drawing(_clean(svg.getvalue(), name, title, description), pdf.getvalue())


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float = 0.075) -> None:
    """Write labels right of the ends of lines, moved apart where they would meet.

    Args:
        axes: where the lines are; its y limits must be final.
        ends: (x, y, label, colour) of each line, in data units.
        gap: the least distance between two labels, as a share of the height of the axes.
    """
    low, high = axes.get_ylim()
    order = sorted(range(len(ends)), key=lambda i: (ends[i][1], i))
    places = _spread([(ends[i][1] - low) / (high - low) for i in order], gap)
    for place, i in zip(places, order, strict=True):
        x, _, label, colour = ends[i]
        axes.annotate(
            label,
            (x, low + place * (high - low)),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def _spread(places: list[float], gap: float) -> list[float]:
    """Move ascending places apart to at least `gap`, each cluster around its own middle, inside [0, 1] if they fit."""
    clusters = [[place] for place in places]
    middles = list(places)
    merged = True
    while merged:
        merged = False
        for i in range(len(clusters) - 1):
            reach = gap * (len(clusters[i]) + len(clusters[i + 1])) / 2
            if middles[i + 1] - middles[i] < reach - 1e-12:
                clusters[i] += clusters.pop(i + 1)
                middles.pop(i + 1)
                middles[i] = sum(clusters[i]) / len(clusters[i])
                merged = True
                break
    out = []
    for cluster, middle in zip(clusters, middles, strict=True):
        half = gap * (len(cluster) - 1) / 2
        start = min(max(middle - half, 0.02), max(0.02, 1.0 - 2 * half))
        out += [start + gap * k for k in range(len(cluster))]
    return out


def _clean(text: str, name: str, title: str, description: str) -> str:
    """Strip what does not belong into a page (doctype, metadata, global styles, loose ids); prefix the other ids."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    for element in root.iter():
        if (own := element.attrib.pop("id", None)) in used:
            element.set("id", f"{name}-{own}")
        for key, value in element.attrib.items():
            element.set(key, _attribute(key, value, name))
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")  # matplotlib's own style rule would hit the page
    for place, (tag, content) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = content
        root.insert(place, element)
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode")).strip() + "\n"


def _attribute(key: str, value: str, name: str) -> str:
    if key == f"{{{_XLINK}}}href" and not value.startswith("data:"):
        return f"#{name}-{value.removeprefix('#')}"
    if key in ("d", "x", "y", "transform", "points", "width", "height", "viewBox"):
        return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", value)
    if key in ("style", "clip-path"):
        value = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value)
        return re.sub(r"'DejaVu Sans'(, sans-serif)?", _FONTS, value)
    return value
