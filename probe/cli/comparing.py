"""What `metaprobe similarity` does with several stores: each two of them, as rows and as a figure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from probe.cli.arguments import at_least_one, comma_separated
from trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from analyses.measures.measure import Measure
    from analyses.table import Table

__all__ = ["compared"]


def compared(
    stores: Sequence[Path],
    measures: Sequence[Measure],
    phases: str,
    layers: Literal["all", "matching"],
    figure: Path | None,
) -> Table:
    """Compare each two of several stores, and draw that.

    Args:
        stores: activation stores.
        measures: which; the first is what is drawn.
        phases: names of phases, joined by commas.
        layers: every layer against every layer, or only against that of its name.
        figure: SVG or PDF to write; None for none.

    Raises:
        MetaprobeError: a phase is unknown, the figure is of another kind, a store is given twice, or two stores do not
            hold the same tasks.
        UnreadableInput: a store is damaged.
    """
    from analyses.compare import compare, phases_named
    from analyses.table import Table
    from reports.heatmap import heatmaps
    from trainers.files import write_bytes, write_text
    from trainers.progress import ProgressLine

    chosen = phases_named(comma_separated(phases))
    at_least_one(chosen, "phase after --phases")
    if figure is not None and figure.suffix not in (".svg", ".pdf"):
        raise MetaprobeError(f"--figure writes SVG or PDF by the file's ending, .svg or .pdf; got {figure.name}")
    places = [store.resolve() for store in stores]
    for store, place in zip(stores, places, strict=True):
        if places.count(place) > 1:
            raise MetaprobeError(f"{store} is given twice; name each store once, or compare with itself by --each")
    table = Table()
    for a, b in itertools.combinations(stores, 2):
        with ProgressLine(f"{a.name} and {b.name}", 0, unit="layers") as bar:
            table += compare(a, b, measures, phases=chosen, layers=layers, progress=bar.reach)
    if figure is not None:
        drawn = heatmaps(table, measures[0].name)
        write_text(figure, drawn.svg) if figure.suffix == ".svg" else write_bytes(figure, drawn.pdf)
    return table
