"""`metaprobe study` and `metaprobe report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from probe.cli.arguments import DataRoot, Flag, at_least_one
from probe.show import Grid, show
from reports.studies.request import StudyRequest

if TYPE_CHECKING:
    from reports.studies.steps import Results

__all__ = ["COMMANDS"]

_Tasks = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="INT", help_behavior_hint="(default: as already measured on every run, else the full preset's)"
    ),
]


_Jobs = Annotated[int, tyro.conf.arg(metavar="INT")]


def study(
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STUDY")],
    request: Annotated[StudyRequest, tyro.conf.arg(name="")],
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/STUDY-DATA-PRESET)")
    ] = None,
    data_root: DataRoot = None,
    download: Flag = False,
    jobs: _Jobs = 1,
    dry_run: Flag = False,
) -> int:
    """Train, probe, analyse and report: a paper's questions, answered on your machine. Resumes what was begun.

    A step that fails is told, stands on the page as failed, and makes the exit status 1; the others go on.

    Args:
        name: raghu2020 or zhou2021; `metaprobe list studies` tells more.
        request: what to do.
        out: Where to.
        data_root: Folder of the data sets.
        download: Fetch the data when they are missing.
        jobs: Processes side by side, one thread each; 1 uses all cores for one step. The numbers are the same.
        dry_run: Print the plan and about how long it takes, and do nothing.
    """
    from reports.studies import study_named
    from reports.studies.planning import planned
    from reports.studies.running import declared, run_study

    chosen = study_named(name)
    request = request.of(chosen)
    data = (request.data or "").partition(":")[0]
    folder = out or Path("runs") / f"{name}-{data}-{request.preset}"
    if dry_run:
        show(planned(declared(chosen, request, folder, data_root, download, jobs), jobs))
        return 0
    return _told(*run_study(chosen, request, folder, data_root, download, jobs))


def report(
    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN…", help_behavior_hint="(at least one)")
    ],
    out: Annotated[Path, tyro.conf.arg(metavar="report.html")],
    tasks: _Tasks = None,
    capture_tasks: _Tasks = None,
    data_root: DataRoot = None,
    jobs: _Jobs = 1,
) -> int:
    """Write the report of training runs, of MAML, ANIL and other regimes together; measures what is not measured yet.

    Args:
        runs: Folders of `metaprobe train`.
        out: The page to write; its tables and figures go beside it.
        tasks: Test tasks behind an accuracy.
        capture_tasks: Test tasks behind similarities and distances.
        data_root: Folder of the data sets.
        jobs: Processes side by side, one thread each.
    """
    from reports.studies import STUDIES

    at_least_one(runs, "RUN")
    write = STUDIES["raghu2020"].report
    assert write is not None
    return _told(*write(list(runs), out, data_root, tasks, capture_tasks, jobs))


def _told(page: Path, results: Results) -> int:
    """Show the verdicts as the page has them, and where it is."""
    import pandas as pd

    claims = pd.read_csv(page.parent / "tables" / "claims.csv", keep_default_na=False)
    columns = ("claim", "title", "paper", "ours", "verdict")
    rows = tuple(tuple(row) for row in claims[list(columns)].to_numpy().tolist())
    show((Grid("claims", columns, rows, unbroken=frozenset({"claim", "verdict"})),))
    print(f"report: {page}")
    return 1 if results.missing() else 0


COMMANDS = {"study": study, "report": report}
