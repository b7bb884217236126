"""`metaprobe freeze`: what freezing layers in the inner loop costs, and what was learned that could be reused."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from metaprobe.probe.cli.arguments import (
    CheckpointPaths,
    Csv,
    DataRoot,
    DataSet,
    Device,
    FigureFile,
    Flag,
    Json,
    Network,
    OtherwiseAsked,
    at_least_one,
    check_outputs,
    comma_separated,
    finish,
    load_data,
    warn_of_few,
)
from metaprobe.probe.cli.comparing import refuse_alike
from metaprobe.probe.cli.inputs import as_checkpoint, opened
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.otherwise import AS_TRAINED

if TYPE_CHECKING:
    from metaprobe.reports.blocks.declared import Figure

__all__ = ["COMMANDS"]


def freeze(
    checkpoints: CheckpointPaths,
    data: DataSet = None,
    tasks: int = 600,
    sets: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="LAYERS…", help_behavior_hint="(default: none, then growing blocks from conv1 on)"),
    ] = (),
    all_subsets: Flag = False,
    inner_steps: Annotated[
        tuple[int, ...], tyro.conf.arg(metavar="INT…", help_behavior_hint="(default: the trained number)")
    ] = (),
    other_steps: Literal["ends", "all"] = "ends",
    adapts: Literal["trained", "all"] = "trained",
    per_task: Flag = False,
    otherwise: OtherwiseAsked = AS_TRAINED,
    seed: int = 0,
    network: Network = None,
    data_root: DataRoot = None,
    device: Device = "cpu",
    csv: Csv = None,
    figure: FigureFile = None,
    json: Json = False,
) -> int:
    """Freeze layers in the test-time inner loop and see what accuracy that costs, beside an untrained network.

    Where nothing and the whole body were frozen in turn, the reuse index follows: the share of the gain over the
    untrained network that is there without touching the body, with the own head and with the NIL head. Last come the
    gains over the untrained network, both with the NIL head, and over chance: whether anything was learned.

    Args:
        checkpoints: what to test.
        data: the data set.
        tasks: How many tasks, the same ones for every set of frozen layers.
        sets: Sets of layers to freeze, such as conv1 conv3,conv4.
        all_subsets: Freeze every subset of the body (of four layers: 16).
        inner_steps: Numbers of steps to test with; with the first of them every set is tested.
        other_steps: With the other numbers of steps, test the first and the last set, or all sets.
        adapts: Let the layers adapt that the learner was trained to adapt, or all that are not frozen (for ANIL and
            maml_head, whose body takes no steps as trained).
        per_task: Give the accuracy of every task a row, too.
        otherwise: than in training.
        seed: Names the tasks.
        network: What the checkpoints are of, where that is code of yours.
        data_root: Folder of the data sets.
        device: cpu, cuda …
        csv: Also write the table there.
        figure: Also draw accuracies by frozen layers, and what freezing costs, beside the untrained network.
        json: Write JSON.
    """
    from metaprobe.analyses.freezing import TestPlan
    from metaprobe.analyses.freezing import all_subsets as subsets_of
    from metaprobe.analyses.freezing import freeze as run
    from metaprobe.analyses.table import Table
    from metaprobe.analyses.testing.learned import learned_table
    from metaprobe.analyses.testing.reuse import reuse_table
    from metaprobe.trainers.progress import ProgressLine
    from metaprobe.trainers.task_kinds import CLASSIFICATION
    from metaprobe.trainers.tasks.data import queries_of

    at_least_one(checkpoints, "CHECKPOINT")
    check_outputs((csv,), checkpoints, figure)
    files = [as_checkpoint(given) for given in checkpoints]
    refuse_alike(files)
    if sets and all_subsets:
        raise MetaprobeError("--sets names sets of layers, --all-subsets takes every one; leave one out")
    named = [(), *map(comma_separated, sets)] if sets else None
    plan = TestPlan(
        tasks=tasks,
        n_query=otherwise.queries,
        seed=seed,
        device=device,
        per_task=True,
        otherwise=otherwise,
    )
    warn_of_few(tasks)
    tables, ways = [], set[int]()
    for given in files:
        path, checkpoint = opened(given, network)
        layers, trained = checkpoint.network().layer_names, checkpoint.adaptation
        steps = inner_steps[0] if inner_steps else trained.steps  # at which every set is tested
        source = load_data(checkpoint.config, data, data_root, images=otherwise)
        classes = checkpoint.config.loss == CLASSIFICATION.loss
        own = dataclasses.replace(plan, n_query=queries_of(source, otherwise.queries, otherwise.n_query is not None))
        with ProgressLine(f"freeze {path.name}", 0, unit="tasks") as bar:
            found = run(
                path, source, own, frozen=subsets_of(layers[:-1]) if all_subsets else named, inner_steps=inner_steps,
                other_steps=other_steps, adapts="all" if adapts == "all" else None, nil_head=classes,
                progress=bar.reach,
            )  # fmt: skip
        tables.append(found if per_task else Table.of(row for row in found.rows if row.task is None))
        if not classes:
            warnings.warn(
                f"{path}: no reuse index and no gains, which are counted from the NIL head and from chance; a "
                "regression has neither, read the rows of the untrained network (less is better)",
                stacklevel=2,
            )
            continue
        if adapts == "all" or set(trained.layers) == set(layers):  # else freezing the body changes nothing
            tables.append(reuse_table(found, layers[:-1], steps))
        n_way = otherwise.n_way or checkpoint.network_config.n_way
        tables.append(learned_table(found, n_way, steps))
        ways.add(n_way)

    def drawn(table: Table) -> Figure:
        from metaprobe.probe.cli.figures.freezing import freezing_figure

        return freezing_figure(table, 100 / ways.pop() if len(ways) == 1 else None)

    return finish(tables, "freezing ablation", csv, json, figure, drawn)


COMMANDS = {"freeze": freeze}
