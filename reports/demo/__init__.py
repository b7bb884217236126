"""What `metaprobe demo` does: first questions of raghu2020, as far as a minute holds them, on a run shipped here."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaprobe.reports.registry import STUDIES
from metaprobe.reports.study.run import Finished, report_runs
from metaprobe.reports.study.study import Measurement
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.run import RunFolder

__all__ = ["RUN", "SHIPPED", "run_demo"]

RUN = "maml-glyphs"
SHIPPED = Path(__file__).parent / RUN
"""The run that ships with the package: its config and its last checkpoint, of MAML on the embedded glyphs."""

_PAPER = STUDIES["raghu2020"]
_CLAIMS = ("R1", "R2", "R9")
_SECTIONS = ("freezing-section", "similarity-section", "weights", "reusing")


def _measurements(options: Any) -> tuple[Measurement, ...]:
    few, drawn = {"test_steps": options.test_steps}, {"permutations": 40, "replicates": 40}
    return (
        Measurement("freezing", ("maml",), amount=options.tasks, options={**few, "nil_head": True, "random_row": True}),
        Measurement("distance", ("maml",), amount=options.capture_tasks, options=few),
        Measurement("capture", ("maml",), amount=options.capture_tasks, options=few),
        Measurement("similarity", ("maml",), options=drawn),
    )


_DEMO = replace(
    _PAPER,
    measurements=_measurements,
    claims=lambda evidence: tuple(claim for claim in _PAPER.claims(evidence) if claim.id in _CLAIMS),
    sections=lambda evidence, cite: tuple(one for one in _PAPER.sections(evidence, cite) if one.name in _SECTIONS),
)


def run_demo(out: Path, jobs: int = 2) -> Finished:
    """Put the shipped run into a folder, measure it there, and write its page; what is there already is kept.

    Args:
        out: the folder.
        jobs: processes side by side, one thread each.

    Raises:
        MetaprobeError: the folder has another run in the place of the shipped one.
    """
    there = RunFolder(out / RUN)
    if not there.path.exists():
        shutil.copytree(SHIPPED, there.path)
    elif there.read_config() != RunFolder(SHIPPED).read_config():
        raise MetaprobeError(f"{there.path} holds another run than the demo's; name another folder with --out")
    return report_runs((_DEMO,), (there.path,), out / "report.html", tasks=60, capture_tasks=20, jobs=jobs)
