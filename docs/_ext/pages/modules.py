"""A page a package or module whose names a user imports: its docstring and what its `__all__` names."""

from __future__ import annotations

import importlib
import inspect

from pages.markdown import contents, plain, table

__all__ = ["MODULES", "pages"]

MODULES = (
    "metaprobe.trainers.config",
    "metaprobe.trainers.tasks",
    "metaprobe.trainers.tasks.episodes",
    "metaprobe.trainers.tasks.given",
    "metaprobe.trainers.networks",
    "metaprobe.trainers.algorithms",
    "metaprobe.trainers.algorithms.base",
    "metaprobe.trainers.update_rules",
    "metaprobe.trainers.modulations",
    "metaprobe.trainers.adapt",
    "metaprobe.trainers.outer_loop",
    "metaprobe.trainers.evaluate",
    "metaprobe.trainers.checkpoint",
    "metaprobe.trainers.run",
    "metaprobe.trainers.clustering.clusters",
    "metaprobe.probe",
    "metaprobe.probe.layers",
    "metaprobe.probe.moments",
    "metaprobe.analyses",
    "metaprobe.analyses.measures.record",
    "metaprobe.analyses.measures.work",
    "metaprobe.analyses.similarity",
    "metaprobe.analyses.compare",
    "metaprobe.analyses.freezing",
    "metaprobe.analyses.weight_distance",
    "metaprobe.analyses.table",
    "metaprobe.reports.claims",
    "metaprobe.reports.quantities",
    "metaprobe.reports.evidence",
    "metaprobe.reports.study.study",
    "metaprobe.reports.registry",
)
_INTRODUCTION = """# Python

What a script of one's own imports, in the order of the path `trainers → probe → analyses → reports`. Everything else
is of the project's own use and may change.
"""


def pages() -> dict[str, str]:
    """Return the pages by their names."""
    rows = [(f"[{name}]({name}.md)", _first_line(name)) for name in MODULES]
    made = {f"api/{name}": _page(name) for name in MODULES}
    return {"api/index": "\n\n".join((_INTRODUCTION, table(("module", ""), rows), contents(MODULES))), **made}


def _page(name: str) -> str:
    return f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```"


def _first_line(name: str) -> str:
    return plain((inspect.getdoc(importlib.import_module(name)) or "").partition("\n")[0])
