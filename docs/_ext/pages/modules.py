"""A page a package or module whose names a user imports: its docstring and what its `__all__` names."""

from __future__ import annotations

import importlib
import inspect

from pages.markdown import contents, plain, table

__all__ = ["MODULES", "pages"]

MODULES = (
    "trainers.config",
    "trainers.tasks",
    "trainers.tasks.episodes",
    "trainers.tasks.given",
    "trainers.networks",
    "trainers.algorithms",
    "trainers.algorithms.base",
    "trainers.update_rules",
    "trainers.modulations",
    "trainers.adapt",
    "trainers.outer_loop",
    "trainers.evaluate",
    "trainers.checkpoint",
    "trainers.run",
    "trainers.clustering.clusters",
    "probe",
    "probe.layers",
    "probe.moments",
    "analyses",
    "analyses.measures.record",
    "analyses.measures.work",
    "analyses.similarity",
    "analyses.compare",
    "analyses.freezing",
    "analyses.weight_distance",
    "analyses.table",
    "reports.claims",
    "reports.quantities",
    "reports.evidence",
    "reports.study.study",
    "reports.registry",
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
