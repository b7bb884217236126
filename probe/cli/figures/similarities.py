"""The figures of `metaprobe similarity`: before and after adaptation, of two checkpoints, of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from metaprobe.analyses.measures.measure import MEASURES, Measure
from metaprobe.analyses.table import Row, Table
from metaprobe.probe.cli.figures.learners import Learner, learners_of, of, said
from metaprobe.reports.blocks.declared import MOST_COLUMNS, Curve, Curves, Dots, Figure, Map, Series
from metaprobe.reports.wording import label_of, layer_colour, measure_name

__all__ = ["arrays_figure", "checkpoints_figure", "similarity_figure"]

_MOST = 8  # layers that stand beside each other; more are below each other
_ROOM = 0.03  # around the range of a measure


def similarity_figure(table: Table, measures: Sequence[Measure]) -> Figure:
    """Return how alike layers are before and after adaptation, a panel a measure, beside the nulls.

    Of stores that hold every inner step the panels are over steps, and each is of one store.

    Args:
        table: rows of stores, each compared with itself.
        measures: which, in order.
    """
    rows = [row for row in table.rows if row.task is None and row.phase == "pre-post"]
    learners, layers = learners_of(rows), tuple(dict.fromkeys(row.layer or "" for row in rows))
    over_steps = any(len({row.step for row in one.rows}) > 1 for one in learners)  # not: stores of other last steps
    caption = "How alike each layer's features are before and after adaptation"
    if over_steps:
        panels = tuple(_course(one, layers, measure, len(learners) > 1) for one, measure in product(learners, measures))
        caption += ", after every inner step against before the first." + _null_of(rows, "Dashed")
        columns = 2
    else:
        panels = tuple(_by_layer(learners, layers, measure) for measure in measures)
        caption += "." + _null_of(rows, "Short lines")
        columns = 2 if len(layers) > _MOST else 3
    if any(row.low is not None for row in rows if not row.measure.endswith("_null")):
        caption += " Bars: 95 % intervals."
    return Figure("similarity", caption + _least(learners, measures[0]), panels, columns=columns)


def _null_of(rows: Sequence[Row], drawn: str) -> str:
    known = any(row.value is not None for row in rows if row.measure.endswith("_null"))
    return f" {drawn}: the null, each image beside another one." if known else ""


def _by_layer(learners: Sequence[Learner], layers: tuple[str, ...], measure: Measure) -> Dots:
    several = len(learners) > 1
    every = tuple(
        Series(one.label * several, one.colour, tuple(of(one.rows, measure=measure.name, layer=k) for k in layers),
               one.marker, nulls=tuple(of(one.rows, measure=f"{measure.name}_null", layer=k) for k in layers))
        for one in learners
    )  # fmt: skip
    return Dots(measure_name(measure.name), layers, every, lying=len(layers) > _MOST, limits=_limits(measure))


def _course(learner: Learner, layers: tuple[str, ...], measure: Measure, several: bool) -> Curves:
    curves, steps = [], {float(row.step) for row in learner.rows if row.step is not None}
    for layer, null in product(layers, (False, True)):
        asked = measure.name + "_null" * null
        points = {row.step: row for row in learner.rows if row.measure == asked and row.layer == layer}
        course = tuple((float(step), row) for step, row in points.items() if step is not None)
        colour = layer_colour(layer, layers)
        marker = "o" if not null else "_" if len(steps) == 1 else ""  # where no line shows a null, a dash does
        curves.append(Curve("" if null else layer, colour, course, dashed=null, marker=marker))
    return Curves(
        f"{learner.title}: " * several + measure_name(measure.name),
        "Inner step" + " (dashed: null)" * any(row.measure == f"{measure.name}_null" for row in learner.rows),
        tuple(curves),
        _limits(measure) or (None, None),
        ticks=tuple(steps) if len(steps) == 1 else (),  # around one place an axis finds no other whole numbers
    )


def _limits(measure: Measure) -> tuple[float, float] | None:
    """Return the ends of the axis of a measure that ends at 0 and 1; None of another, whose values say it."""
    low, high = measure.range
    return (-_ROOM, 1 + _ROOM) if (low, high) == (0.0, 1.0) else None


def _least(learners: Sequence[Learner], measure: Measure) -> str:
    """Say which layer of each learner is least alike at the last step."""
    told = ""
    for one in learners:
        last = max((row.step or 0 for row in one.rows), default=0)
        known = [row for row in one.rows if row.measure == measure.name and row.value is not None]
        known = [row for row in known if (row.step or 0) == last]
        if known:
            pick = min if measure.higher_is_more_similar else max
            least = pick(known, key=lambda row: row.value or 0.0)
            null = of(one.rows, measure=f"{measure.name}_null", layer=least.layer, step=least.step)
            told += f" {one.title}, {measure_name(measure.name)}: least alike {least.layer}, {said(least, 3)}"
            told += f", null {said(null, 3)}." if null is not None and null.value is not None else "."
    return told


def checkpoints_figure(table: Table, measure: str) -> Figure:
    """Return layers × layers by a measure, a map for each two checkpoints and phases."""
    maps: dict[tuple[str | None, ...], list[Row]] = {}
    for row in table.rows:
        if row.measure == measure and row.other_layer is not None:
            maps.setdefault((row.source, row.phase), []).append(row)
    return _maps(measure, [_of_checkpoints(measure, rows) for rows in maps.values()])


def arrays_figure(pairs: Sequence[tuple[Table, tuple[str, str]]], measure: str) -> Figure:
    """Return layers × layers by a measure, a map for each two files, which come with their names."""
    return _maps(
        measure,
        [
            _map(measure, " against ".join(names), *names, [row for row in table.rows if row.measure == measure])
            for table, names in pairs
        ],
    )


def _maps(measure: str, panels: Sequence[Map]) -> Figure:
    matching = all(row == column for panel in panels for row, column in panel.values)
    which = "each layer against that of its name" if matching else "all layers against all layers"
    caption = f"{measure_name(measure)} of {which}."
    for panel in panels:
        known = {at: row.value for at, row in panel.values.items() if isinstance(row, Row) and row.value is not None}
        if known:
            (row, column), value = max(known.items(), key=lambda one: one[1] or 0.0)
            caption += f" {panel.title}: largest {row} against {column}, {value:.3g}."
    widest = max((len({column for _, column in panel.values}) for panel in panels), default=0)
    return Figure("similarity", caption, tuple(panels), columns=1 if widest > MOST_COLUMNS else 2)


def _map(measure: str, title: str, own: str, other: str, rows: Sequence[Row]) -> Map:
    values = {(str(row.layer), str(row.other_layer)): row for row in rows}
    high = MEASURES[measure].range[1]
    most = (
        high if high < float("inf") else max([row.value for row in rows if row.value is not None], default=0.0) or 1.0
    )
    return Map(title, measure_name(measure), own, other, values, most=most)


def _of_checkpoints(measure: str, rows: Sequence[Row]) -> Map:
    first = rows[0]
    own = _named(first.algorithm, first.update_rule, first.seed, first.checkpoint)
    other = _named(first.other_algorithm, first.other_update_rule, first.other_seed, first.other_checkpoint)
    if own == other:  # two runs of one seed, which their checkpoints tell apart; else two stores of one checkpoint
        ids = (str(first.checkpoint)[:6], str(first.other_checkpoint)[:6])
        if first.checkpoint == first.other_checkpoint:
            ids = tuple(f"store {id[:6]}" for id in str(first.source).split("+"))
        own, other = (f"{own}, {id}" for id in ids)
    words = [{"pre": "before", "post": "after"}[phase] for phase in str(first.phase).split("-")]
    both = f"{words[0]} adaptation" if len(set(words)) == 1 else f"{words[0]} against {words[1]} adaptation"
    return _map(measure, f"{both.capitalize()}: {own} against {other}", own, other, rows)


def _named(algorithm: str | None, rule: str | None, seed: int | None, checkpoint: str | None) -> str:
    if algorithm is None:
        return f"checkpoint {checkpoint}"
    return label_of(algorithm) + (f" with {rule}" if rule else "") + ("" if seed is None else f" seed {seed}")
