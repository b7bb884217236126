"""`metaprobe list`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from probe.cli.arguments import Json
from probe.show import Grid, as_json, show, write_line

__all__ = ["COMMANDS"]

What = Literal["algorithms", "update_rules", "datasets", "measures", "studies"]


def list_names(
    what: Annotated[
        tyro.conf.Positional[What], tyro.conf.arg(metavar="{algorithms,update_rules,datasets,measures,studies}")
    ],
    json: Json = False,
) -> int:
    """List the algorithms, update rules, data sets, similarity measures or studies.

    Args:
        what: Which registry.
        json: Write JSON.
    """
    grids = {"algorithms": _algorithms, "update_rules": _update_rules, "datasets": _datasets}
    grid = (grids | {"measures": _measures, "studies": _studies})[what]()
    if json:
        write_line(as_json([dict(zip(grid.columns, row, strict=True)) for row in grid.rows]))
    else:
        show((grid,))
    return 0


def _algorithms() -> Grid:
    from trainers.algorithms import ALGORITHMS

    rows = tuple((entry.name, entry.summary, entry.citation) for entry in ALGORITHMS.values())
    return Grid("algorithms", ("name", "summary", "citation"), rows)


def _update_rules() -> Grid:
    from trainers.update_rules import UPDATE_RULES

    rows = tuple((entry.name, entry.summary, entry.citation) for entry in UPDATE_RULES.values())
    return Grid("update rules", ("name", "summary", "citation"), rows)


def _datasets() -> Grid:
    from trainers.tasks import DATASETS

    rows = tuple((entry.name, entry.summary, entry.source, entry.licence) for entry in DATASETS.values())
    return Grid("datasets", ("name", "summary", "source", "licence"), rows)


def _measures() -> Grid:
    from analyses.measures.measure import MEASURES

    rows = tuple(
        (
            entry.name,
            f"{entry.range[0]:g} … {entry.range[1]:g}",
            ", ".join(sorted(entry.invariances)),
            entry.minimum_samples,
        )
        for entry in MEASURES.values()
    )
    return Grid("measures", ("name", "range", "invariances", "minimum_samples"), rows)


def _studies() -> Grid:
    from reports.registry import STUDIES

    rows = tuple((entry.name, entry.summary, entry.citation) for entry in STUDIES.values())
    return Grid("studies", ("name", "summary", "citation"), rows)


COMMANDS = {"list": list_names}
