"""`metaprobe inspect` and `metaprobe diff`: checkpoints as files, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from metaprobe.probe.cli.arguments import FigureFile, Flag, Json, check_outputs
from metaprobe.probe.cli.inputs import is_store
from metaprobe.probe.show import as_json, show, write_line
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput

__all__ = ["COMMANDS"]

Key = Annotated[str | None, tyro.conf.arg(metavar="KEY", help_behavior_hint="(default: state_dict, model, net …)")]


def inspect(
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")],
    glob: Annotated[str | None, tyro.conf.arg(metavar="GLOB", help_behavior_hint="")] = None,
    stats: Flag = False,
    depth: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    key: Key = None,
    figure: FigureFile = None,
    json: Json = False,
) -> int:
    """Show what is in a checkpoint: tensors, parameters per layer, metadata, provenance, fingerprint.

    Args:
        checkpoint: A checkpoint, any safetensors file or file of torch.save (read with weights_only), a folder of
            several with their index, a run, or an activation store.
        glob: Only tensors whose name fits, such as 'conv*'.
        stats: Also read the values: norms, ranges, NaN, Inf and all-zero flags, and check the fingerprint.
        depth: Levels of the tree to show.
        key: Where in a file of torch.save the weights are.
        figure: Also draw norms of layers and how their weights are distributed; reads the values, as --stats does.
        json: Write JSON.
    """
    if depth is not None and depth < 0:
        raise MetaprobeError(f"--depth must be at least 0; got {depth}")
    check_outputs((), (checkpoint,), figure)
    if is_store(checkpoint):
        asked = {"--glob": glob, "--stats": stats, "--depth": depth, "--key": key, "--figure": figure}
        return _show_store(checkpoint, tuple(asked.items()), json)
    from metaprobe.probe.inspection.inspect import inspect_file
    from metaprobe.probe.inspection.views import show_inspection

    found = inspect_file(checkpoint, glob=glob, stats=stats or figure is not None, key=key)
    show_inspection(found, depth=depth, json_wanted=json)
    if found.fingerprint_matches is False:
        raise UnreadableInput(f"{checkpoint}: its tensors are not the ones that its fingerprint was taken of")
    if figure is not None:
        from metaprobe.probe.cli.figures.weights import weights_figure
        from metaprobe.probe.cli.figures.writing import write_figure
        from metaprobe.probe.inspection.distributions import distributions

        write_figure(weights_figure(found, distributions(found, key)), figure)
    return 0


def _show_store(path: Path, options: Sequence[tuple[str, object]], json: bool) -> int:
    from metaprobe.probe.inspection.stores import store_grids

    if given := [name for name, value in options if value not in (None, False)]:
        raise MetaprobeError(f"{path} is an activation store, which has no {given[0]}")
    grids = store_grids(path)
    if json:
        facts, layers = grids
        rows = [dict(zip(layers.columns, row, strict=True)) for row in layers.rows]
        write_line(as_json({str(name): value for name, value in facts.rows} | {"layers": rows}))
    else:
        show(grids)
    return 0


def diff(
    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")],
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")],
    json: Json = False,
) -> int:
    """Compare two checkpoints: names, shapes, values per layer, configs. Exit status 1 when they differ.

    Args:
        a: A checkpoint, safetensors file, state_dict, folder of several, or run.
        b: Another.
        json: Write JSON.
    """
    from metaprobe.probe.inspection.diff import diff_files
    from metaprobe.probe.inspection.views import show_difference

    difference = diff_files(a, b)
    show_difference(difference, json_wanted=json)
    return 0 if difference.same else 1


COMMANDS = {"inspect": inspect, "diff": diff}
