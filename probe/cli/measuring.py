"""`metaprobe capture`, `similarity`, `distance` and `freeze`: from a checkpoint to tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from probe.cli.arguments import (
    CheckpointPath,
    CheckpointPaths,
    DataRoot,
    DataSet,
    Device,
    Flag,
    InnerSteps,
    Json,
    at_least_one,
    check_outputs,
    comma_separated,
    load_data,
    show_table,
    warn_of_few,
)
from probe.cli.comparing import compared
from probe.show import write_line
from trainers.errors import MetaprobeError
from trainers.formats.text import visible
from trainers.limits import check_whole

if TYPE_CHECKING:
    from analyses.table import Table

__all__ = ["COMMANDS"]

Csv = Annotated[
    Path | None,
    tyro.conf.arg(metavar="FILE.csv", help="Also write the table there, all columns.", help_behavior_hint=""),
]


def capture(
    checkpoint: CheckpointPath,
    out: Annotated[Path, tyro.conf.arg(metavar="STORE.h5")],
    data: DataSet = None,
    tasks: int = 100,
    layers: str = "*",
    steps: Literal["last", "all"] = "last",
    inner_steps: InnerSteps = None,
    sketch_rows: int = 20_000,
    raw: Flag = False,
    float16: Flag = False,
    zstd: Flag = False,
    n_query: int = 15,
    seed: int = 0,
    data_root: DataRoot = None,
    device: Device = "cpu",
) -> int:
    """Adapt a checkpoint to test tasks and record each layer's activations before and after, on the same samples.

    Args:
        checkpoint: what to look into.
        out: The store to write.
        data: the data set.
        tasks: How many tasks.
        layers: Layers by name or glob, such as 'conv*,head'.
        steps: Compare the start with the last inner step only, or with each.
        inner_steps: Steps on each support set.
        sketch_rows: Rows of a layer that all tasks keep together, for nulls and to compare checkpoints with each other.
        raw: Also store every activation, not only moments and a sketch.
        float16: Store raw activations in half precision; one that overflows is an error.
        zstd: Compress raw activations (needs hdf5plugin).
        n_query: Query images of a class.
        seed: Names the tasks.
        data_root: Folder of the data sets.
        device: cpu, cuda …
    """
    from probe import RawOptions, capture_checkpoint
    from probe.store.metadata import LARGEST_SET
    from trainers.checkpoint import load_checkpoint
    from trainers.device import device_named
    from trainers.progress import ProgressLine

    device_named(device)  # what is not there is told before data are read
    check_outputs((out,), (checkpoint,))
    check_whole("tasks", tasks, 1, LARGEST_SET)  # what a store's reader takes
    check_whole("n_query", n_query, 1, LARGEST_SET)
    check_whole("sketch_rows", sketch_rows, 1, LARGEST_SET)
    if (float16 or zstd) and not raw:
        raise MetaprobeError("--float16 and --zstd say how whole activations are stored; ask for those with --raw")
    config = load_checkpoint(checkpoint).config
    imageset = load_data(config, data, data_root)
    options = RawOptions("float16" if float16 else "as computed", zstd) if raw else False
    with ProgressLine(f"capture {checkpoint.name}", tasks, unit="tasks") as bar:
        capture_checkpoint(
            checkpoint, imageset, out, tasks=tasks, layers=layers, steps=steps, raw=options, seed=seed, n_query=n_query,
            inner_steps=inner_steps, sketch_rows=sketch_rows, device=device,
            advance=lambda done: bar.advance(steps=done),
        )  # fmt: skip
    write_line(visible(str(out)))
    return 0


def similarity(
    stores: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="STORE…", help_behavior_hint="(at least one)")
    ],
    measures: str = "mean_cca,svcca,pwcca,linear_cka,debiased_cka,procrustes",
    over: Literal["task", "tasks"] = "task",
    each: Flag = False,
    phases: Annotated[
        str | None, tyro.conf.arg(metavar="PHASE,PHASE…", help_behavior_hint="(default: pre-pre,post-post)")
    ] = None,
    layers: Annotated[
        Literal["all", "matching"] | None,
        tyro.conf.arg(metavar="{all,matching}", help_behavior_hint="(default: all)"),
    ] = None,
    figure: Annotated[Path | None, tyro.conf.arg(metavar="FILE.svg|FILE.pdf", help_behavior_hint="")] = None,
    csv: Csv = None,
    json: Json = False,
) -> int:
    """Compare representations: of one store each layer before with after adaptation, of several each two stores.

    Each value has a 95 % interval, from resampled tasks; a layer against the layer of its name also has a null, from
    exchanged images, and the share of the way from there to the largest value ("calibrated"). Stores that are compared
    must hold the same tasks: capture with the same --data, --tasks, --seed and --n-query. Where feature maps differ in
    size, the coarser one is repeated to the finer one's size.

    Args:
        stores: Activation stores, as `metaprobe capture` writes them.
        measures: Names of `metaprobe list measures`; cca and cka stand for mean_cca and linear_cka. rsa_pearson and
            rsa_spearman read whole images, of a convolution from a store with --raw.
        over: Each task by itself, the mean over tasks (task); or the samples of all tasks together (tasks), which asks
            for one linear map for all of them.
        each: Compare each of several stores with itself, before with after adaptation, not with the others.
        phases: Of two stores, the first and the second before (pre) or after (post) adaptation: pre-pre, pre-post,
            post-pre, post-post.
        layers: Of two stores, every layer against every layer, or only against that of the same name.
        figure: Also draw two stores' layers × layers by the first of the measures, a map for each of the phases.
        csv: Also write the table there.
        json: Write JSON.
    """
    from analyses.similarity import measures_named, similarity

    at_least_one(stores, "STORE")
    check_outputs((csv, figure), stores)
    chosen = measures_named(comma_separated(measures))
    at_least_one(chosen, "measure after --measures")
    if each or len(stores) == 1:
        for option, value in (("--phases", phases), ("--layers", layers), ("--figure", figure)):
            if value is not None:
                raise MetaprobeError(f"{option} is for comparing stores with each other; give two, without --each")
        tables = [similarity(store, chosen, over=over) for store in stores]
        return _finish(tables, "similarity before and after adaptation", csv, json)
    phases = "pre-pre,post-post" if phases is None else phases
    table = compared(stores, chosen, phases, layers or "all", figure, over)
    return _finish([table], "similarity of two checkpoints", csv, json)


def distance(
    checkpoints: CheckpointPaths,
    data: DataSet = None,
    tasks: int = 100,
    inner_steps: InnerSteps = None,
    seed: int = 0,
    data_root: DataRoot = None,
    device: Device = "cpu",
    csv: Csv = None,
    json: Json = False,
) -> int:
    """Measure how far adaptation moves each layer's weights.

    Args:
        checkpoints: what to measure.
        data: the data set.
        tasks: How many tasks.
        inner_steps: Steps on each support set.
        seed: Names the tasks.
        data_root: Folder of the data sets.
        device: cpu, cuda …
        csv: Also write the table there.
        json: Write JSON.
    """
    from analyses.freezing import TestPlan
    from analyses.weight_distance import weight_distance
    from trainers.checkpoint import load_checkpoint

    at_least_one(checkpoints, "CHECKPOINT")
    check_outputs((csv,), checkpoints)
    tables = []
    for path in checkpoints:
        config = load_checkpoint(path).config
        imageset = load_data(config, data, data_root)
        tables.append(weight_distance(path, imageset, TestPlan(tasks=tasks, seed=seed, device=device), inner_steps))
    return _finish(tables, "weight distance before and after adaptation", csv, json)


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
    n_query: int = 15,
    seed: int = 0,
    data_root: DataRoot = None,
    device: Device = "cpu",
    csv: Csv = None,
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
        n_query: Query images of a class.
        seed: Names the tasks.
        data_root: Folder of the data sets.
        device: cpu, cuda …
        csv: Also write the table there.
        json: Write JSON.
    """
    from analyses.freezing import TestPlan
    from analyses.freezing import all_subsets as subsets_of
    from analyses.freezing import freeze as run
    from analyses.table import Table
    from analyses.testing.learned import learned_table
    from analyses.testing.reuse import reuse_table
    from trainers.checkpoint import load_checkpoint
    from trainers.progress import ProgressLine

    at_least_one(checkpoints, "CHECKPOINT")
    check_outputs((csv,), checkpoints)
    if sets and all_subsets:
        raise MetaprobeError("--sets names sets of layers, --all-subsets takes every one; leave one out")
    named = [(), *map(comma_separated, sets)] if sets else None
    plan = TestPlan(tasks=tasks, n_query=n_query, seed=seed, device=device, per_task=True)
    warn_of_few(tasks)
    tables = []
    for path in checkpoints:
        checkpoint = load_checkpoint(path)
        layers, trained = checkpoint.network().layer_names, checkpoint.adaptation
        steps = inner_steps[0] if inner_steps else trained.steps  # at which every set is tested
        imageset = load_data(checkpoint.config, data, data_root)
        with ProgressLine(f"freeze {path.name}", 0, unit="tasks") as bar:
            found = run(
                path, imageset, plan, frozen=subsets_of(layers[:-1]) if all_subsets else named, inner_steps=inner_steps,
                other_steps=other_steps, adapts="all" if adapts == "all" else None, nil_head=True,
                progress=bar.reach,
            )  # fmt: skip
        tables.append(found if per_task else Table.of(row for row in found.rows if row.task is None))
        if adapts == "all" or set(trained.layers) == set(layers):  # else freezing the body changes nothing
            tables.append(reuse_table(found, layers[:-1], steps))
        tables.append(learned_table(found, checkpoint.network_config.n_way, steps))
    return _finish(tables, "freezing ablation", csv, json)


def _finish(tables: Sequence[Table], title: str, csv: Path | None, json: bool) -> int:
    from analyses.table import Table

    table = sum(tables, Table())
    if csv:
        table.write_csv(csv)
    show_table(table, title, json)
    return 0


COMMANDS = {"capture": capture, "similarity": similarity, "distance": distance, "freeze": freeze}
