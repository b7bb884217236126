"""`metaprobe study` and `metaprobe report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from probe.cli.arguments import DataRoot, Flag, at_least_one
from reports.studies.study import StudyRequest

__all__ = ["COMMANDS"]

_Tasks = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="INT", help_behavior_hint="(default: as already measured on every run, else the full preset's)"
    ),
]


def study(
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STUDY")],
    request: Annotated[StudyRequest, tyro.conf.arg(name="")],
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/STUDY-DATA-PRESET)")
    ] = None,
    data_root: DataRoot = None,
    download: Flag = False,
) -> int:
    """Train, probe, analyse and report: a paper's questions, answered on your machine. Resumes what was begun.

    Args:
        name: raghu2020 or zhou2021; `metaprobe list studies` tells more.
        request: what to do.
        out: Where to.
        data_root: Folder of the data sets.
        download: Fetch the data when they are missing.
    """
    from reports.studies import study_named

    chosen = study_named(name)
    request = request.of(chosen)
    data = (request.data or "").partition(":")[0]
    folder = out or Path("runs") / f"{name}-{data}-{request.preset}"
    print(f"report: {chosen.run(request, folder, data_root, download)}")
    return 0


def report(
    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN…", help_behavior_hint="(at least one)")
    ],
    out: Annotated[Path, tyro.conf.arg(metavar="report.html")],
    tasks: _Tasks = None,
    capture_tasks: _Tasks = None,
    data_root: DataRoot = None,
) -> int:
    """Write the report of training runs, of MAML, ANIL and other regimes together; measures what is not measured yet.

    Args:
        runs: Folders of `metaprobe train`.
        out: The page to write; its tables and figures go beside it.
        tasks: Test tasks behind an accuracy.
        capture_tasks: Test tasks behind similarities and distances.
        data_root: Folder of the data sets.
    """
    from reports.studies import STUDIES

    at_least_one(runs, "RUN")
    write = STUDIES["raghu2020"].report
    assert write is not None
    print(f"report: {write(list(runs), out, data_root, tasks, capture_tasks)}")
    return 0


COMMANDS = {"study": study, "report": report}
