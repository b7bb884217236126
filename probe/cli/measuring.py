"""`metaprobe capture` and `similarity`: from a checkpoint to what its layers compute, and how alike that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from metaprobe.probe.cli.arguments import (
    CheckpointPath,
    Csv,
    DataRoot,
    DataSet,
    Device,
    FigureFile,
    Flag,
    InnerSteps,
    Json,
    Network,
    OtherwiseAsked,
    at_least_one,
    check_outputs,
    comma_separated,
    finish,
    load_data,
)
from metaprobe.probe.cli.arrays import compared_arrays, of_arrays
from metaprobe.probe.cli.comparing import compared, refuse_same_stores
from metaprobe.probe.cli.inputs import as_stores, opened
from metaprobe.probe.show import write_line
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.limits import check_whole
from metaprobe.trainers.otherwise import AS_TRAINED

if TYPE_CHECKING:
    from metaprobe.analyses.table import Table
    from metaprobe.reports.blocks.declared import Figure

__all__ = ["COMMANDS"]

_MOST_DRAWS = 100_000  # resamples or orders; beyond that an interval shows no difference


def capture(
    checkpoint: CheckpointPath,
    out: Annotated[Path, tyro.conf.arg(metavar="STORE.h5")],
    data: DataSet = None,
    tasks: int = 100,
    layers: str = "*",
    steps: Literal["last", "all"] = "last",
    inner_steps: InnerSteps = None,
    channel_axis: Annotated[
        str | None, tyro.conf.arg(metavar="LAYERS=AXIS,…", help_behavior_hint="(default: by the kind of layer)")
    ] = None,
    sketch_rows: int = 20_000,
    raw: Flag = False,
    float16: Flag = False,
    zstd: Flag = False,
    otherwise: OtherwiseAsked = AS_TRAINED,
    seed: int = 0,
    network: Network = None,
    data_root: DataRoot = None,
    device: Device = "cpu",
) -> int:
    """Adapt a checkpoint to test tasks and record each layer's activations before and after, on the same samples.

    Args:
        checkpoint: what to look into.
        out: The store to write.
        data: the data set.
        tasks: How many tasks.
        layers: Layers by name or glob, such as 'conv*,head'. What a glob chooses and cannot be captured is left out,
            and told.
        steps: Compare the start with the last inner step only, or with each.
        inner_steps: Steps on each support set.
        channel_axis: The axis of the features in outputs of more than two axes, such as 'blocks.*=-1', the samples
            being in front.
        sketch_rows: Rows of a layer that all tasks keep together, for nulls and to compare checkpoints with each other.
        raw: Also store every activation, not only moments and a sketch.
        float16: Store raw activations in half precision; one that overflows is an error.
        zstd: Compress raw activations (needs hdf5plugin).
        otherwise: than in training.
        seed: Names the tasks.
        network: What it is of, where that is code of yours.
        data_root: Folder of the data sets.
        device: cpu, cuda …
    """
    from metaprobe.probe import RawOptions, capture_checkpoint
    from metaprobe.probe.store.metadata import LARGEST_SET
    from metaprobe.trainers.device import device_named
    from metaprobe.trainers.progress import ProgressLine
    from metaprobe.trainers.tasks.data import queries_of

    device_named(device)  # what is not there is told before data are read
    check_outputs((out,), (checkpoint,))
    check_whole("tasks", tasks, 1, LARGEST_SET)  # what a store's reader takes
    check_whole("n_query", otherwise.n_query, 1, LARGEST_SET)
    check_whole("sketch_rows", sketch_rows, 1, LARGEST_SET)
    axes = _axes(channel_axis)
    if (float16 or zstd) and not raw:
        raise MetaprobeError("--float16 and --zstd say how whole activations are stored; ask for those with --raw")
    checkpoint, loaded = opened(checkpoint, network)
    source = load_data(loaded.config, data, data_root, images=otherwise)
    queries = queries_of(source, otherwise.queries, otherwise.n_query is not None)
    options = RawOptions("float16" if float16 else "as computed", zstd) if raw else False
    with ProgressLine(f"capture {checkpoint.name}", tasks, unit="tasks") as bar:
        capture_checkpoint(
            checkpoint, source, out, tasks=tasks, layers=layers, steps=steps, raw=options, seed=seed, n_query=queries,
            inner_steps=inner_steps, channel_axis=axes, sketch_rows=sketch_rows, device=device, otherwise=otherwise,
            advance=lambda done: bar.advance(steps=done),
        )  # fmt: skip
    write_line(visible(str(out)))
    return 0


def _axes(text: str | None) -> dict[str, int] | None:
    """Return the axis of each pattern of "blocks.*=-1,stem=1"."""
    found: dict[str, int] = {}
    for word in comma_separated(text or ""):
        pattern, mark, axis = word.rpartition("=")
        if not mark or not pattern or not axis.removeprefix("-").isdecimal():
            raise MetaprobeError(f"--channel-axis takes LAYERS=AXIS, such as 'blocks.*=-1'; got {word!r}")
        found[pattern] = int(axis)
    return found or None


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
    samples: Annotated[
        Literal["positions", "images"] | None,
        tyro.conf.arg(metavar="{positions,images}", help_behavior_hint="(arrays; default: positions)"),
    ] = None,
    channel_axis: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(arrays; default: 1 of four axes, -1 of three)"),
    ] = None,
    groups: Annotated[Path | None, tyro.conf.arg(metavar="FILE.npy", help_behavior_hint="(arrays)")] = None,
    replicates: int = 200,
    permutations: int = 40,
    figure: FigureFile = None,
    csv: Csv = None,
    json: Json = False,
) -> int:
    """Compare representations: of one store each layer before with after adaptation, of several each two stores.

    Instead of stores, arrays of activations from anywhere: .npy, or .npz, HDF5 and safetensors files with an array a
    layer, the same samples along the first axis of all. Intervals are then over samples, or groups of them.

    Each value has a 95 % interval, from resampled tasks; a layer against the layer of its name also has a null, from
    exchanged images, and the share of the way from there to the largest value ("calibrated"). Stores that are compared
    must hold the same tasks: capture with the same --data, --tasks, --seed and --n-query. Where feature maps differ in
    size, the coarser one is repeated to the finer one's size.

    Args:
        stores: Activation stores, as `metaprobe capture` writes them; or files of arrays.
        measures: Names of `metaprobe list measures`, or other names that it tells, as cca and cka. Those that need
            images (RSA, distance correlation, RBF CKA, nearest neighbours) read them whole, of a convolution from a
            store with --raw.
        over: Each task by itself, the mean over tasks (task); or the samples of all tasks together (tasks), which asks
            for one linear map for all of them.
        each: Compare each of several stores with itself, before with after adaptation, not with the others.
        phases: Of two stores, the first and the second before (pre) or after (post) adaptation: pre-pre, pre-post,
            post-pre, post-post.
        layers: Of two stores, every layer against every layer, or only against that of the same name.
        samples: Of arrays (sample, channel, height, width) or (sample, token, feature), each position is a sample, or
            the whole of it, flattened, is one (images).
        channel_axis: Where the features of such arrays are, for positions.
        groups: The group of each sample, whole numbers or text, where samples of a group depend on each other.
        replicates: Resamples of tasks (of arrays: halves of the samples) behind an interval, 0 for none; fewer than 39
            give none.
        permutations: Orders of the images behind a null, 0 for none.
        figure: Also draw, of a store by itself, every measure by layer beside its null, or over the inner steps that it
            holds; of two stores and of arrays, layers × layers by the first of the measures.
        csv: Also write the table there.
        json: Write JSON.
    """
    from metaprobe.analyses.similarity import measures_named, similarity

    at_least_one(stores, "STORE")
    check_whole("replicates", replicates, 0, _MOST_DRAWS)
    check_whole("permutations", permutations, 0, _MOST_DRAWS)
    amount = {"replicates": replicates, "permutations": permutations}
    chosen = measures_named(comma_separated(measures))
    at_least_one(chosen, "measure after --measures")
    check_outputs((csv,), (*stores, *([groups] if groups else [])), figure)
    if of_arrays(stores):
        for option, value in (("--phases", phases is not None), ("--each", each), ("--over tasks", over == "tasks")):
            if value:
                raise MetaprobeError(f"{option} is for activation stores; {stores[0]} holds arrays, leave it out")
        how = (layers or "all", samples or "positions", channel_axis, groups)
        pairs = compared_arrays(stores, chosen, *how, amount)

        def maps_of_arrays(_: Table) -> Figure:
            from metaprobe.probe.cli.figures.similarities import arrays_figure

            return arrays_figure(pairs, chosen[0].name)

        return finish([table for table, _ in pairs], "similarity of arrays", csv, json, figure, maps_of_arrays)
    for option, value in (("--samples", samples), ("--channel-axis", channel_axis), ("--groups", groups)):
        if value is not None:
            raise MetaprobeError(f"{option} is for arrays; {stores[0]} is none, a store says of itself what it holds")
    stores = as_stores(stores)
    check_outputs((csv,), stores, figure)  # a run's store is known only now
    if each or len(stores) == 1:
        for option, value in (("--phases", phases), ("--layers", layers)):
            if value is not None:
                raise MetaprobeError(f"{option} is for comparing stores with each other; give two, without --each")
        refuse_same_stores(stores)
        tables = [similarity(store, chosen, over=over, **amount) for store in stores]

        def by_measure(table: Table) -> Figure:
            from metaprobe.probe.cli.figures.similarities import similarity_figure

            return similarity_figure(table, chosen)

        return finish(tables, "similarity before and after adaptation", csv, json, figure, by_measure)
    phases = "pre-pre,post-post" if phases is None else phases
    table = compared(stores, chosen, phases, layers or "all", over, amount)

    def maps(table: Table) -> Figure:
        from metaprobe.probe.cli.figures.similarities import checkpoints_figure

        return checkpoints_figure(table, chosen[0].name)

    return finish([table], "similarity of two checkpoints", csv, json, figure, maps)


COMMANDS = {"capture": capture, "similarity": similarity}
