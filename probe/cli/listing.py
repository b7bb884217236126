"""`metaprobe list`: what there is to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from metaprobe.probe.cli.arguments import Csv, DataRoot, DataSet, Flag, Json, Network, told
from metaprobe.probe.cli.known_answers import tell_known_answers
from metaprobe.probe.show import Grid, as_json, show, write_line
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["COMMANDS"]

What = Literal["algorithms", "update_rules", "datasets", "measures", "studies"]


def list_names(
    what: Annotated[
        tyro.conf.Positional[What], tyro.conf.arg(metavar="{algorithms,update_rules,datasets,measures,studies}")
    ],
    known_answers: Flag = False,
    checkpoint: Annotated[
        Path | None,
        tyro.conf.arg(metavar="CHECKPOINT", help_behavior_hint="(default: one is trained for it, in about a minute)"),
    ] = None,
    network: Network = None,
    data: DataSet = None,
    data_root: DataRoot = None,
    tasks: int = 20,
    csv: Csv = None,
    json: Json = False,
) -> int:
    """List the algorithms, update rules, data sets, similarity measures or studies.

    Args:
        what: Which registry.
        known_answers: Of measures: test on a checkpoint whether each orders what must be ordered. More inner steps make
            a layer less like itself, and so do exchanged images; another task's images are no more like it than
            exchanged ones; units in another order change nothing; and the next layer is more like a layer than the one
            after that. By 95 % intervals of paired differences over tasks: passed, failed, undecided or undefined.
        checkpoint: The checkpoint of --known-answers, *.safetensors, or a run.
        network: What it is of, where that is code of yours.
        data: its data set.
        data_root: Folder of the data sets.
        tasks: Tasks of --known-answers.
        csv: Also write the known answers there.
        json: Write JSON.
    """
    if known_answers:
        if what != "measures":
            raise MetaprobeError(f"--known-answers tests measures, not {what}: metaprobe list measures --known-answers")
        return tell_known_answers(checkpoint, network, data, data_root, tasks, csv, json)
    for option in ("checkpoint", "network", "data", "data_root", "tasks", "csv"):
        if told(option):
            word = option.replace("_", "-")
            raise MetaprobeError(
                f"--{word} goes with `metaprobe list measures --known-answers`; leave it out, or add that"
            )
    grids = {"algorithms": _algorithms, "update_rules": _update_rules, "datasets": _datasets}
    grid = (grids | {"measures": _measures, "studies": _studies})[what]()
    if json:
        write_line(as_json([dict(zip(grid.columns, row, strict=True)) for row in grid.rows]))
    else:
        show((grid,))
    return 0


def _algorithms() -> Grid:
    from metaprobe.trainers.algorithms import ALGORITHMS

    rows = tuple((entry.name, entry.summary, entry.citation) for entry in ALGORITHMS.values())
    return Grid("algorithms", ("name", "summary", "citation"), rows)


def _update_rules() -> Grid:
    from metaprobe.trainers.update_rules import UPDATE_RULES

    rows = tuple((entry.name, entry.summary, entry.citation) for entry in UPDATE_RULES.values())
    return Grid("update rules", ("name", "summary", "citation"), rows)


def _datasets() -> Grid:
    from metaprobe.trainers.tasks import DATASETS

    rows = tuple((entry.name, entry.summary, entry.source, entry.licence) for entry in DATASETS.values())
    return Grid("datasets", ("name", "summary", "source", "licence"), rows)


def _measures() -> Grid:
    from metaprobe.analyses.measures.measure import ALIASES, MEASURES

    rows = tuple(
        (
            entry.name,
            ", ".join(alias for alias, name in ALIASES.items() if name == entry.name),
            entry.summary,
            f"{entry.range[0]:.3g} … {entry.range[1]:.3g}".replace("inf", "∞"),
            f"{entry.most_alike:g}",
            entry.needs,
            entry.minimum_samples,
            ", ".join(sorted(entry.invariances)),
        )
        for entry in MEASURES.values()
    )
    columns = ("name", "also", "summary", "range", "alike", "needs", "minimum_samples", "invariances")
    return Grid("measures", columns, rows)


def _studies() -> Grid:
    from metaprobe.reports.registry import STUDIES

    rows = tuple((entry.name, entry.summary, entry.citation) for entry in STUDIES.values())
    return Grid("studies", ("name", "summary", "citation"), rows)


COMMANDS = {"list": list_names}
