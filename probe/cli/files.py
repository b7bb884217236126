"""`metaprobe inspect` and `metaprobe diff`: checkpoints as files, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from probe.cli.arguments import Flag, Json
from trainers.errors import MetaprobeError, UnreadableInput

__all__ = ["COMMANDS"]


def inspect(
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    glob: Annotated[str | None, tyro.conf.arg(metavar="GLOB", help_behavior_hint="")] = None,
    stats: Flag = False,
    depth: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    json: Json = False,
) -> int:
    """Show what is in a checkpoint: tensors, parameters per layer, metadata, provenance, fingerprint.

    Args:
        checkpoint: A checkpoint, any safetensors file, or a PyTorch state_dict (.pt, .pth; read with weights_only).
        glob: Only tensors whose name fits, such as 'conv*'.
        stats: Also read the values: norms, ranges, NaN, Inf and all-zero flags, and check the fingerprint.
        depth: Levels of the tree to show.
        json: Write JSON.
    """
    if depth is not None and depth < 0:
        raise MetaprobeError(f"--depth must be at least 0; got {depth}")
    from probe.inspection.inspect import inspect_file
    from probe.inspection.views import show_inspection

    found = inspect_file(checkpoint, glob=glob, stats=stats)
    show_inspection(found, depth=depth, json_wanted=json)
    if found.fingerprint_matches is False:
        raise UnreadableInput(f"{checkpoint}: its tensors are not the ones that its fingerprint was taken of")
    return 0


def diff(
    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")],
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")],
    json: Json = False,
) -> int:
    """Compare two checkpoints: names, shapes, values per layer, configs. Exit status 1 when they differ.

    Args:
        a: A checkpoint, safetensors file or state_dict.
        b: Another.
        json: Write JSON.
    """
    from probe.inspection.diff import diff_files
    from probe.inspection.views import show_difference

    difference = diff_files(a, b)
    show_difference(difference, json_wanted=json)
    return 0 if difference.same else 1


COMMANDS = {"inspect": inspect, "diff": diff}
