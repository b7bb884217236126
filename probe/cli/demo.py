"""`metaprobe demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metaprobe.probe.cli.arguments import check_outputs
from metaprobe.probe.cli.reporting import told
from metaprobe.probe.show import write_line

__all__ = ["COMMANDS"]


def demo(
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/demo"),
    jobs: Annotated[int, tyro.conf.arg(metavar="INT")] = 2,
) -> int:
    """Open a trained MAML that ships with metaprobe, freeze it, compare it before and after it adapts: a small page.

    Args:
        out: Where to.
        jobs: Processes side by side, one thread each.
    """
    from metaprobe.reports.demo import RUN, run_demo

    check_outputs((out / "report.html",))
    status = told(run_demo(out, jobs))
    write_line(f"next: metaprobe inspect {out / RUN}; metaprobe freeze {out / RUN}; metaprobe train maml --data glyphs")
    return status


COMMANDS = {"demo": demo}
