"""`metaprobe convert`: data sets that circulate as pickles, to class folders; `metaprobe collapse`: layers to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metaprobe.probe.cli.arguments import CheckpointPath, check_outputs
from metaprobe.probe.cli.inputs import opened
from metaprobe.probe.show import write_line
from metaprobe.trainers.formats.text import visible

__all__ = ["COMMANDS"]


def convert(
    files: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="FILE.pkl…", help_behavior_hint="(at least one)"),
    ],
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
) -> int:
    """Write the images of mini-ImageNet's or CIFAR-FS's pickles to class folders, for --data class_folder:FOLDER.

    Nothing in them is executed: of a pickle's instructions those are followed that make numbers, text, lists, dicts and
    arrays of numbers, and what holds anything else is refused.

    Args:
        files: A pickle a split, such as mini-imagenet-cache-train.pkl; their names say which.
        out: The folder to make.
    """
    from metaprobe.trainers.progress import ProgressLine
    from metaprobe.trainers.tasks.pickled import convert as convert_files

    with ProgressLine(f"convert to {out.name}", 0, unit="images") as bar:
        written = convert_files(files, out, lambda count: bar.advance(steps=count))
    splits = sorted({name.partition("/")[0] for name in written if "/" in name})
    told = f" in {', '.join(splits)}" if splits else ""
    write_line(f"{sum(written.values()):,} images of {len(written):,} classes{told}")
    write_line(visible(str(out)))
    return 0


def collapse(checkpoint: CheckpointPath, out: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")]) -> int:
    """Multiply the linear layers before a head (`train --linnet`) into it: the same function, with one layer to adapt.

    Args:
        checkpoint: Of a network with such layers.
        out: The checkpoint to write.
    """
    from metaprobe.trainers.checkpoint import save_checkpoint
    from metaprobe.trainers.collapse import collapsed

    path, loaded = opened(checkpoint)
    check_outputs((out,), (path,))
    save_checkpoint(out, collapsed(loaded))
    write_line(visible(str(out)))
    return 0


COMMANDS = {"convert": convert, "collapse": collapse}
