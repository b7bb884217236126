"""`metaprobe clusters`: which initialisation the tasks of each domain start from, and what else would group them so."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from metaprobe.probe.cli.arguments import (
    CheckpointPath,
    DataRoot,
    DataSet,
    Device,
    FigureFile,
    Flag,
    Json,
    Network,
    OtherImagesAsked,
    check_outputs,
    load_images,
)
from metaprobe.probe.cli.inputs import opened
from metaprobe.probe.cli.measuring import Csv
from metaprobe.probe.cli.tables import readable
from metaprobe.probe.show import Cell, Grid, as_json, show, write_line
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.limits import MOST_STEPS, MOST_TASKS, check_memory, check_whole
from metaprobe.trainers.otherwise import OtherImages

if TYPE_CHECKING:
    from metaprobe.analyses.table import Table
    from metaprobe.trainers.checkpoint import Checkpoint
    from metaprobe.trainers.clustering.moves import Moves

__all__ = ["COMMANDS"]

Embed = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="INT", help_behavior_hint="(default: none; UMAP, t-SNE and PCA coordinates are in --csv and --json)"
    ),
]


def _number(default: str) -> object:
    return tyro.conf.arg(metavar="INT", help_behavior_hint=f"(default: {default})")


def clusters(
    checkpoint: CheckpointPath,
    data: DataSet = None,
    tasks: int = 1000,
    fit_tasks: int = 2000,
    clusters: Annotated[int | None, _number("its own, else one a domain")] = None,
    cluster_steps: Annotated[int | None, _number("its own, else those of a test")] = None,
    label_orders: Annotated[int | None, _number("its own, else 1")] = None,
    symmetric_head: Flag = False,
    embed: Embed = None,
    split: Literal["train", "val", "test"] = "test",
    n_query: int = 15,
    images: OtherImagesAsked = OtherImages(),  # noqa: B008 (frozen)
    seed: int = 0,
    network: Network = None,
    data_root: DataRoot = None,
    device: Device = "cpu",
    csv: Csv = None,
    figure: FigureFile = None,
    json: Json = False,
) -> int:
    """Count which clusters the tasks of each domain fall into: of TSA-MAML its initialisations, else k-means'.

    Agreement with the domains is told as purity, adjusted Rand index and normalised mutual information, with 95 %
    bootstrap intervals over tasks: of the checkpoint's own assignment, where it has one, and of k-means on all adapted
    parameters, on the body's, on the head's, and on mean features.

    Args:
        checkpoint: any; of several initialisations, as tsa_maml trains them, or of one.
        data: the data set, a mixture.
        tasks: How many tasks of each domain.
        fit_tasks: How many training tasks k-means sees; 4 bytes of memory for each of their parameters.
        clusters: How many k-means finds.
        cluster_steps: Inner steps that tasks are told apart by, of a checkpoint without clusters.
        label_orders: Over how many orders of a task's labels its adapted parameters are a mean, likewise.
        symmetric_head: Tell tasks apart by adapting under a head whose rows are all their mean, so that the order of
            labels cannot count, likewise.
        embed: Also embed this many tasks of each domain in the plane.
        split: Classes that the tasks are drawn from.
        n_query: Query images of a class; mean features are over these too.
        images: other than in training.
        seed: Names the tasks; seeds k-means, bootstrap and embedding.
        network: What the checkpoint is of, where that is code of yours.
        data_root: Folder of the data sets.
        device: cpu, cuda …
        csv: Also write the table there.
        figure: Also draw the usage as a heatmap, the agreement with domains, and tasks in the plane (with --embed).
        json: Write JSON.
    """
    from metaprobe.analyses.clustering.cluster_rows import domains_of
    from metaprobe.analyses.clustering.clusters import agreement
    from metaprobe.analyses.clustering.embedding import EmbeddingPlan, embedding
    from metaprobe.analyses.compared import noted
    from metaprobe.analyses.testing import TestPlan
    from metaprobe.trainers.device import device_named
    from metaprobe.trainers.progress import ProgressLine

    device_named(device)  # what is not there is told before data are read
    check_outputs((csv,), (checkpoint,), figure)
    path, loaded = opened(checkpoint, network)
    moves = _moves(loaded, path, cluster_steps, label_orders, symmetric_head)
    check_whole("fit_tasks", fit_tasks, 1, MOST_TASKS)
    check_whole("clusters", clusters, 1, MOST_TASKS)
    numbers = 4 * fit_tasks * sum(value.numel() for value in loaded.params.values()) + 20 * fit_tasks**2
    check_memory(numbers, "lower --fit-tasks")  # as `collect_views` says
    check_whole("embed", embed, 1, MOST_TASKS)
    plan = TestPlan(tasks=tasks, n_query=n_query, seed=seed, split=split, device=device)
    imageset = load_images(loaded.config, data, data_root, images)
    domains = len(domains_of(imageset, plan))
    if clusters is None:
        clusters = loaded.clusters.count if loaded.clusters else domains
    embed_plan = EmbeddingPlan(seed=seed)
    if embed is not None:
        embed_plan.check(domains * embed)
    with ProgressLine(f"clusters {path.name}", 0, unit="tasks") as bar:
        done, total = 0, domains * tasks + fit_tasks + 3 * domains * (embed or 0)

        def advance(some: int) -> None:
            nonlocal done
            done += some
            bar.reach(done, total)

        how = {"m": clusters, "moves": moves, "fit_tasks": fit_tasks, "with_usage": True}
        table = agreement(loaded, imageset, plan, **how, advance=advance)
        if embed is not None:
            few = dataclasses.replace(plan, tasks=embed)
            table += embedding(loaded, imageset, few, embed_plan=embed_plan, moves=moves, advance=advance)
    table = noted(table.rows, images.told_of_images(loaded))
    if csv:
        table.write_csv(csv)
    _show(table, json)
    if figure is not None:
        from metaprobe.probe.cli.figures.clusters import clusters_figure
        from metaprobe.probe.cli.figures.writing import write_figure

        write_figure(clusters_figure(table, _called(table)), figure)
    return 0


def _moves(
    checkpoint: Checkpoint, path: Path, steps: int | None, label_orders: int | None, symmetric_head: bool
) -> Moves | None:
    """Return how tasks are told apart where that is asked for; of a checkpoint with clusters it is settled."""
    from metaprobe.trainers.clustering.moves import Moves

    asked = {"--cluster-steps": steps, "--label-orders": label_orders, "--symmetric-head": symmetric_head or None}
    told = [name for name, value in asked.items() if value is not None]
    if not told:
        return None
    if checkpoint.clusters is not None:
        raise MetaprobeError(
            f"{path} has clusters of its own, which tasks are assigned to after {checkpoint.clusters.moves}; leave out "
            f"{' and '.join(told)}, or name the checkpoint that it began with"
        )
    check_whole("cluster_steps", steps, 1, MOST_STEPS)
    check_whole("label_orders", label_orders, 1, 1000)
    adaptation = checkpoint.adaptation
    if steps is not None:
        adaptation = dataclasses.replace(adaptation, steps=steps)
    return Moves(adaptation, label_orders or 1, symmetric_head)


def _called(table: Table) -> str:
    """Return what a cluster is: of the checkpoint's own an initialisation."""
    own = any(row.view == "assignment" for row in table.rows if row.measure == "usage_count")
    return "initialisation" if own else "cluster"


def _show(table: Table, json_wanted: bool) -> None:
    from metaprobe.analyses.table import Table

    if json_wanted:
        columns = table.used_columns()
        write_line(as_json([{name: getattr(row, name) for name in columns} for row in table.rows]))
        return
    told = Table.of(row for row in table.rows if row.cluster is None and row.task is None)
    title = "agreement of clusters with domains"
    if sys.stdout is not None and sys.stdout.isatty():
        show((*_usage_grids(table), *readable(told, title)))
        return
    columns = told.used_columns()
    rows = tuple(tuple(getattr(row, name) for name in columns) for row in told.rows)
    show((*_usage_grids(table), Grid(title, columns, rows)))


def _usage_grids(table: Table) -> tuple[Grid, Grid]:
    """Return counts and frequencies, a row a domain, a column an initialisation."""

    def grid(measure: str, title: str) -> Grid:
        cells: dict[str, list[Cell]] = {}
        sizes: dict[str, int | None] = {}
        for row in table.rows:
            if row.measure == measure and row.group is not None and row.value is not None:
                value = int(row.value) if measure == "usage_count" else row.value
                cells.setdefault(row.group, []).append(value)
                sizes[row.group] = row.n
        width = max(map(len, cells.values()), default=0)
        columns = ("group", "n", *(f"{_called(table)} {place}" for place in range(width)))
        return Grid(title, columns, tuple((group, sizes[group], *values) for group, values in cells.items()))

    counts = grid("usage_count", f"tasks of each domain in each {_called(table)}")
    return counts, grid("usage_frequency", "the same as frequencies, 0 … 1")


COMMANDS = {"clusters": clusters}
