"""What `metaprobe similarity` does with several stores: each two of them, as rows and as a figure."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from probe.cli.arguments import at_least_one, comma_separated
from trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from analyses.compared import Over
    from analyses.measures.measure import Measure
    from analyses.table import Row, Table
    from reports.blocks.declared import Map

__all__ = ["check_figure", "compared", "refuse_twice"]


def compared(
    stores: Sequence[Path],
    measures: Sequence[Measure],
    phases: str,
    layers: Literal["all", "matching"],
    figure: Path | None,
    over: Over,
    amount: Mapping[str, int],
) -> Table:
    """Compare each two of several stores, and draw that.

    Args:
        stores: activation stores.
        measures: which; the first is what is drawn.
        phases: names of phases, joined by commas.
        layers: every layer against every layer, or only against that of its name.
        figure: SVG or PDF to write; None for none.
        over: each task by itself, or all tasks together.
        amount: how many replicates and permutations.

    Raises:
        MetaprobeError: a phase is unknown, the figure is of another kind, a store is given twice, or two stores do not
            hold the same tasks.
        UnreadableInput: a store is damaged.
    """
    from analyses.compare import compare, phases_named
    from analyses.table import Table
    from trainers.progress import ProgressLine

    chosen = phases_named(comma_separated(phases))
    at_least_one(chosen, "phase after --phases")
    check_figure(figure)
    refuse_twice(stores, "store", ", or compare with itself by --each")
    table = Table()
    for a, b in itertools.combinations(stores, 2):
        with ProgressLine(f"{a.name} and {b.name}", 0, unit="layers") as bar:
            table += compare(a, b, measures, phases=chosen, layers=layers, over=over, progress=bar.reach, **amount)
    if figure is not None:
        _draw(table, measures[0].name, figure)
    return table


def check_figure(figure: Path | None) -> None:
    """Refuse a figure that is neither SVG nor PDF, before anything is computed, as a `MetaprobeError`."""
    if figure is not None and figure.suffix not in (".svg", ".pdf"):
        raise MetaprobeError(f"--figure writes SVG or PDF by the file's ending, .svg or .pdf; got {figure.name}")


def refuse_twice(paths: Sequence[Path], kind: str, advice: str = "") -> None:
    """Refuse a file that is named twice, as a `MetaprobeError`; its message ends with the advice."""
    places = [os.path.realpath(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise MetaprobeError(f"{path} is given twice; name each {kind} once{advice}")


def _draw(table: Table, measure: str, path: Path) -> None:
    """Draw layers × layers, a map for each two checkpoints and phases."""
    from reports.blocks.declared import Figure
    from reports.blocks.figure import draw
    from reports.wording import measure_name

    maps: dict[tuple[str | None, ...], list[Row]] = {}
    for row in table.rows:
        if row.measure == measure and row.other_layer is not None:
            maps.setdefault((row.source, row.phase), []).append(row)
    name = measure_name(measure)
    block = Figure("similarity", f"{name}, layers against layers", tuple(_map(name, rows) for rows in maps.values()))
    if (drawn := draw(block)) is None:
        raise MetaprobeError(f"nothing to draw: the table holds no number of {measure} of two checkpoints")
    drawn.write(path)


def _map(name: str, rows: Sequence[Row]) -> Map:
    from reports.blocks.declared import Map

    first = rows[0]
    own = _named(first.algorithm, first.update_rule, first.seed, first.checkpoint)
    other = _named(first.other_algorithm, first.other_update_rule, first.other_seed, first.other_checkpoint)
    if own == other:  # two runs of one seed: only their checkpoints tell them apart
        own, other = (f"{who}, {str(id)[:6]}" for who, id in ((own, first.checkpoint), (other, first.other_checkpoint)))
    words = [{"pre": "before", "post": "after"}[phase] for phase in str(first.phase).split("-")]
    both = f"{words[0]} adaptation" if len(set(words)) == 1 else f"{words[0]} against {words[1]} adaptation"
    values = {(str(row.layer), str(row.other_layer)): row.value for row in rows}
    return Map(f"{both.capitalize()}: {own} against {other}", name, own, other, values)


def _named(algorithm: str | None, rule: str | None, seed: int | None, checkpoint: str | None) -> str:
    from reports.wording import label_of

    if algorithm is None:
        return f"checkpoint {checkpoint}"
    return label_of(algorithm) + (f" with {rule}" if rule else "") + ("" if seed is None else f" seed {seed}")
