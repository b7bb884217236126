"""Figures as files: what a figure is written as, and what it says of itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from metaprobe.probe.cli.arguments import GIVEN
from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from metaprobe.reports.blocks.declared import Figure

__all__ = ["write_figure"]


def write_figure(block: Figure, path: Path) -> None:
    """Write a figure whose numbers are rows, with its caption and the command that makes it again as metadata.

    Args:
        block: the figure.
        path: where to; its ending says as what, see `probe.cli.arguments.check_outputs`.

    Raises:
        MetaprobeError: nothing in it is a number.
    """
    from metaprobe.reports.blocks.figure import draw

    drawn = draw(block, shlex.join(("metaprobe", *GIVEN.get())))
    if drawn is None:
        why = f": {block.missing[1]}" if block.missing else ""
        raise MetaprobeError(f"--figure: there is nothing to draw, no number of the table is one that it shows{why}")
    drawn.write(path)
