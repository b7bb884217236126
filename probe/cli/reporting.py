"""`metaprobe study` and `metaprobe report`."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import tyro

from metaprobe.probe.cli.arguments import DataRoot, Flag, Network, at_least_one, check_outputs, option_in
from metaprobe.probe.show import Grid, show, write_line
from metaprobe.trainers.errors import MetaprobeError, flag_of
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.progress import ProgressLine, duration
from metaprobe.trainers.user_code import USER_CODE, is_code

if TYPE_CHECKING:
    from metaprobe.reports.study.run import Finished, Planned
    from metaprobe.reports.study.study import Study
    from metaprobe.reports.verdicts import Judgement

__all__ = ["COMMANDS", "studies", "study_asked", "told"]

_Options = TypeVar("_Options")
_Jobs = Annotated[int, tyro.conf.arg(metavar="INT")]
_Scheduler = Annotated[
    str | None, tyro.conf.arg(metavar="WHERE", help_behavior_hint="(local:4, tcp://HOST:PORT or slurm; default: none)")
]
_Slurm = Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE…", help_behavior_hint="")]
_Tasks = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="INT", help_behavior_hint="(default: as already measured on every run, else the full preset's)"
    ),
]
_Runs = Annotated[
    tyro.conf.Positional[tuple[Path, ...]],
    tyro.conf.arg(metavar="RUN…", help_behavior_hint="(at least one, or --from-tables)"),
]


@dataclasses.dataclass(frozen=True)
class _Asked(Generic[_Options]):
    """A study as asked for on the command line: its own options, and where it reads and writes."""

    options: Annotated[_Options, tyro.conf.arg(name="")]
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: runs/STUDY-DATA-PRESET)")
    ] = None
    """Where to."""
    data_root: DataRoot = None
    download: Flag = False
    """Fetch the data when they are missing."""
    jobs: _Jobs = 1
    """Processes side by side, one thread each; 1 uses all cores for one step. The numbers are the same."""
    scheduler: _Scheduler = None
    """Do steps on workers of dask, as jobs of SLURM (docs/clusters.md); all at once but for --jobs above 1."""
    slurm: _Slurm = ()
    """Parameters of those jobs, as submitit has them: timeout_min=240 slurm_partition=long."""
    dry_run: Flag = False
    """Print the steps, which are done, and about how long the others take; keep nothing."""


def study() -> int:
    """Train, probe, analyse and report: a paper's questions, answered on your machine. Resumes what was begun."""
    raise MetaprobeError("name a study; `metaprobe list studies` tells which there are")


def studies() -> tyro.extras.SubcommandApp:
    """Return the studies as commands without options, to list them in `metaprobe study --help`."""
    from metaprobe.reports.registry import STUDIES

    app = tyro.extras.SubcommandApp()
    for entry in STUDIES.values():
        app.command(name=entry.name, help=entry.summary)(study)
    return app


def study_asked(name: str, arguments: Sequence[str]) -> int:
    """Run `metaprobe study NAME`, whose options and their defaults are those of the study and its preset.

    A step that fails is told, stands on the page as failed, and makes the exit status 1; the others go on.

    Args:
        name: of the study.
        arguments: what comes after it.

    Raises:
        MetaprobeError: there is no such study or preset, or what is asked for cannot be.
    """
    from metaprobe.reports.registry import study_named

    chosen = study_named(name)
    preset = chosen.preset(option_in(arguments, "--preset") or "quick")
    asked: Any = tyro.cli(
        _Asked[type(preset)],
        default=_Asked(preset),
        prog=f"metaprobe study {name}",
        description=f"{chosen.summary} {chosen.citation}",
        args=arguments,
    )
    return _run(chosen, asked)


def _run(chosen: Study, asked: _Asked[Any]) -> int:
    from metaprobe.reports.study.run import plan_study, run_study, workers_for
    from metaprobe.trainers.execution.workers import check_jobs

    check_jobs(asked.jobs)
    options = asked.options
    data = options.data.partition(":")[0]
    out = asked.out or Path("runs") / f"{chosen.name}-{data}-{options.preset}"
    planned = plan_study(chosen, options, out, asked.data_root, asked.download)
    if asked.dry_run:
        workers_for(planned, asked.jobs, asked.scheduler, asked.slurm)  # what cannot be is refused here, too
        show(_plan(planned))
        return 0
    return told(run_study(planned, asked.jobs, asked.scheduler, asked.slurm))


def _plan(planned: Planned) -> tuple[Grid, Grid]:
    """Return the steps and what there is to do, and about how long that takes where it can be told."""
    from metaprobe.reports.study.engine import states
    from metaprobe.reports.study.estimate import estimated

    state = states(planned.steps, planned.images)
    left = [name for name, one in state.items() if one == "to do"]
    counts = Counter(state.values())
    facts: list[tuple[str, int | str]] = [("steps to do", len(left)), ("steps done", counts["kept"])]
    if counts["failed"]:
        facts += [("steps failed", counts["failed"]), ("steps not to be run for that", counts["not run"])]
    found: dict[str, float | str] = {}
    if left and planned.options.device == "cpu":
        sys.stderr.write("timing a few outer steps and tasks of each kind, in seconds to minutes; Ctrl-C ends it\n")
        with ProgressLine("timing", len(left), unit="steps") as bar:
            found = estimated(planned, left, bar.reach)
        known = [seconds for seconds in found.values() if not isinstance(seconds, str)]
        if known:
            facts.append(("time", f"about {duration(sum(known))} of one core, as timed here; half or twice may be"))
        facts += [("not timed", f"{name}: {told}") for name, told in found.items() if isinstance(told, str)]
    times = {name: "" if isinstance(told, str) else duration(told) for name, told in found.items()}
    columns = ("step", "state", "time") if found else ("step", "state")
    rows = tuple((name, one, times.get(name, ""))[: len(columns)] for name, one in state.items())
    return Grid("plan", columns, rows), Grid("in all", ("what", "value"), tuple(facts))


def report(
    runs: _Runs = (),
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="report.html")],
    study: Annotated[
        str | None, tyro.conf.arg(metavar="STUDY", help_behavior_hint="(default: the one that the runs fit)")
    ] = None,
    from_tables: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None,
    tasks: _Tasks = None,
    capture_tasks: _Tasks = None,
    data_root: DataRoot = None,
    jobs: _Jobs = 1,
    scheduler: _Scheduler = None,
    slurm: _Slurm = (),
    data: Annotated[
        str | None, tyro.conf.arg(metavar="SET", help_behavior_hint="(default: what the checkpoints say)")
    ] = None,
    network: Network = None,
) -> int:
    """Write the report of training runs, of the study whose learners they are; measures what is not yet.

    Args:
        runs: Folders of `metaprobe train`, or checkpoints of `metaprobe import`, each of which gets a folder beside it.
        out: The page to write; its tables and figures go beside it.
        study: Whose learners the runs are.
        from_tables: Make the page from the tables of an earlier one alone: its folder tables/.
        tasks: Test tasks behind an accuracy.
        capture_tasks: Test tasks behind similarities and distances.
        data_root: Folder of the data sets.
        jobs: Processes side by side, one thread each.
        scheduler: Do steps on workers of dask, as jobs of SLURM; all at once but for --jobs above 1.
        slurm: Parameters of those jobs, as submitit has them.
        data: What imported checkpoints were trained on, where they do not say.
        network: What they are of, where that is code of yours.
    """
    from metaprobe.reports.registry import STUDIES, study_named

    check_outputs((out,))
    if from_tables is not None:
        measuring = (tasks, capture_tasks, data_root, scheduler, slurm or None, data, network)
        names = ("tasks", "capture_tasks", "data_root", "scheduler", "slurm", "data", "network")
        unused = [flag_of(name) for name, value in zip(names, measuring, strict=True) if value is not None]
        unused = ["RUN"] * bool(runs) + ["--study"] * (study is not None) + ["--jobs"] * (jobs != 1) + unused
        if unused:
            why = "--from-tables makes a page from tables alone, which say of which study, and measures nothing"
            raise MetaprobeError(f"{why}; leave out {', '.join(unused)}")
        return _from_tables(from_tables, out)
    at_least_one(runs, "RUN")
    from metaprobe.reports.study.run import report_runs

    USER_CODE.set(network if network is not None and is_code(network) else None)
    studies = tuple(STUDIES.values()) if study is None else (study_named(study),)
    how = (data_root, tasks, capture_tasks, jobs, data, scheduler, slurm)
    return told(report_runs(studies, runs, out, *how))


def _from_tables(folder: Path, out: Path) -> int:
    from metaprobe.reports.page.compose import page_of
    from metaprobe.reports.page.files import read_tables, write_report
    from metaprobe.reports.registry import study_named

    evidence = read_tables(folder)
    page = page_of(study_named(evidence.made.study), evidence)
    _show(tuple(page.judgements.values()), write_report(page, out.parent, out.name))
    return 0


def told(finished: Finished) -> int:
    """Show the verdicts of a study, and where its page is; return the exit status: 1 where a step of it is missing."""
    _show(tuple(finished.judgements.values()), finished.page)
    return 1 if finished.results.missing() else 0


def _show(judgements: Sequence[Judgement], page: Path) -> None:
    """Show the verdicts, and where the page is."""
    ours = ("; ".join(j.ours).replace(":;", ":") for j in judgements)
    found = (
        (j.claim.id, j.claim.title, j.claim.paper, told, j.verdict) for j, told in zip(judgements, ours, strict=True)
    )
    rows = tuple(tuple(text.replace("\N{NO-BREAK SPACE}", " ") for text in row) for row in found)  # as pages have them
    columns = ("claim", "title", "paper", "ours", "verdict")
    show((Grid("claims", columns, rows, unbroken=frozenset({"claim", "verdict"})),))
    write_line(f"report: {visible(str(page))}")


COMMANDS = {"study": study, "report": report}
