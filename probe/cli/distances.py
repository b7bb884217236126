"""`metaprobe distance`: how far adaptation moves the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.probe.cli.arguments import (
    CheckpointPaths,
    Csv,
    DataRoot,
    DataSet,
    Device,
    FigureFile,
    InnerSteps,
    Json,
    Network,
    OtherwiseAsked,
    at_least_one,
    check_outputs,
    finish,
    load_data,
)
from metaprobe.probe.cli.comparing import refuse_alike
from metaprobe.probe.cli.inputs import as_checkpoint, opened
from metaprobe.trainers.otherwise import AS_TRAINED

if TYPE_CHECKING:
    from metaprobe.analyses.table import Table
    from metaprobe.reports.blocks.declared import Figure

__all__ = ["COMMANDS"]


def distance(
    checkpoints: CheckpointPaths,
    data: DataSet = None,
    tasks: int = 100,
    inner_steps: InnerSteps = None,
    otherwise: OtherwiseAsked = AS_TRAINED,
    seed: int = 0,
    network: Network = None,
    data_root: DataRoot = None,
    device: Device = "cpu",
    csv: Csv = None,
    figure: FigureFile = None,
    json: Json = False,
) -> int:
    """Measure how far adaptation moves each layer's weights.

    Args:
        checkpoints: what to measure.
        data: the data set.
        tasks: How many tasks.
        inner_steps: Steps on each support set.
        otherwise: than in training.
        seed: Names the tasks.
        network: What it is of, where that is code of yours.
        data_root: Folder of the data sets.
        device: cpu, cuda …
        csv: Also write the table there.
        figure: Also draw the distances of all layers.
        json: Write JSON.
    """
    from metaprobe.analyses.freezing import TestPlan
    from metaprobe.analyses.weight_distance import weight_distance
    from metaprobe.trainers.tasks.data import queries_of

    at_least_one(checkpoints, "CHECKPOINT")
    check_outputs((csv,), checkpoints, figure)
    files = [as_checkpoint(given) for given in checkpoints]
    refuse_alike(files)
    tables = []
    for given in files:
        path, loaded = opened(given, network)
        source = load_data(loaded.config, data, data_root, images=otherwise)
        queries = queries_of(source, otherwise.queries, otherwise.n_query is not None)
        plan = TestPlan(tasks=tasks, n_query=queries, seed=seed, device=device, otherwise=otherwise)
        tables.append(weight_distance(path, source, plan, inner_steps))

    def drawn(table: Table) -> Figure:
        from metaprobe.probe.cli.figures.distances import distance_figure

        return distance_figure(table)

    return finish(tables, "weight distance before and after adaptation", csv, json, figure, drawn)


COMMANDS = {"distance": distance}
