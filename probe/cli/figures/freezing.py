"""The figure of `metaprobe freeze`."""

from __future__ import annotations

from typing import Any

from metaprobe.analyses.table import Row, Table
from metaprobe.probe.cli.figures.learners import Learner, bars_of, learners_of, of, said
from metaprobe.reports.blocks.declared import Dots, Figure, Series
from metaprobe.reports.wording import block_name, count, layer_colour

__all__ = ["freezing_figure"]

_METRICS = {"accuracy": ("accuracy (%)", 1, " points"), "mean_squared_error": ("mean squared error", 3, "")}
_AXIS, _NIL = "Layers frozen in the inner loop", "NIL head"
_MOST = 8  # sets of layers that stand beside each other; more are below each other


def freezing_figure(table: Table, chance: float | None) -> Figure:
    """Return what freezing costs: the test metric by frozen layers, its change, and both at other numbers of steps.

    Args:
        table: as `metaprobe freeze` shows it.
        chance: the accuracy of guessing, percent; None where there is none, or none for all.
    """
    metric = next(name for name in _METRICS if of(table.rows, measure=name))
    words, digits, unit = _METRICS[metric]
    tested = [row for row in table.rows if row.task is None and row.measure in (metric, f"{metric}_difference")]
    learners = learners_of(tested)
    sets = list(dict.fromkeys(row.frozen or "" for row in tested if row.head != "nil"))
    nil = any(row.head == "nil" for row in tested)
    places = tuple(block_name(frozen) if frozen else "none" for frozen in sets) + (_NIL,) * nil
    lying = len(places) > _MOST
    against = f"against {places[0]} frozen" if sets[0] else "by freezing"
    how: dict[str, Any] = {"lying": lying, "axis": _AXIS, "line": None if chance is None else (chance, "chance")}

    def at(learner: Learner, steps: int | None, measure: str = metric) -> tuple[Row | None, ...]:
        rows = [row for row in learner.rows if row.measure == measure]
        return tuple(of(rows, frozen=frozen, inner_steps=steps, head="own") for frozen in sets)

    def without(learner: Learner, measure: str) -> tuple[Row | None, ...]:
        return (of(learner.rows, measure=measure, head="nil"),) * nil  # it takes no steps, whatever the others take

    def series(measure: str) -> tuple[Series, ...]:
        return tuple(
            Series(one.label, one.colour, (*at(one, _steps(one), measure), *without(one, measure)), one.marker)
            for one in learners
        )

    panels = [
        Dots(f"Test {words}", places, series(metric), **how),
        Dots(f"Change {against}{f' ({unit.strip()})' if unit else ''}", places,
             series(f"{metric}_difference"), lying=lying, axis=_AXIS, line=(0.0, "")),
    ]  # fmt: skip
    for one in learners:
        steps = sorted({row.inner_steps for row in one.rows if row.head != "nil" and row.inner_steps is not None})
        shades = (*map(str, steps), "head")
        looks = (
            Series(count(n, "step"), layer_colour(str(n), shades), at(one, n), "o^sDvPX"[place % 7])
            for place, n in enumerate(steps)
        )
        if len(steps) > 1:
            panels.append(
                Dots(f"{one.title}, by inner steps at test: {words}", places[: len(sets)], tuple(looks), **how)
            )
    caption = f"Test {words} with layers frozen in the inner loop, and its change {against}. "
    caption += _told(table, learners, digits, unit) + bars_of(tested)
    return Figure("freezing", caption, tuple(panels), columns=1 if lying else 2)


def _steps(learner: Learner) -> int | None:
    """Return the number of inner steps that every set was tested at."""
    return learner.rows[0].inner_steps


def _told(table: Table, learners: list[Learner], digits: int, unit: str) -> str:
    """Say what the figure shows: what the last set costs each learner, and the reuse index."""
    sentences = []
    for one in learners:
        drawn = (row for row in reversed(one.rows) if row.inner_steps == _steps(one))  # not of other numbers of steps
        last = next((row for row in drawn if row.measure.endswith("_difference")), None)
        if last is not None and last.value is not None:
            changed = said(last, digits, unit, signed=True)
            sentences.append(f"{one.title} with {block_name(last.frozen or '')} frozen: {changed}.")
    for row in table.rows:
        if row.measure == "reuse_index" and row.value is not None:
            head = "NIL head" if row.head == "nil" else f"own head, {count(row.inner_steps or 0, 'step')}"
            whose = next((one.label for one in learners if one.rows[0].checkpoint == row.checkpoint), row.checkpoint)
            sentences.append(f"Reuse index of {whose}, {head}: {said(row, 2)}.")
    return " ".join(sentences)
