"""A page a command, with what its `--help` says."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings

from metaprobe.probe.cli import COMMANDS, main
from metaprobe.reports.registry import STUDIES
from pages.markdown import contents, fenced, plain, table

__all__ = ["pages"]

_INTRODUCTION = """# Commands

`metaprobe COMMAND --help` says what stands on these pages. Where a checkpoint is meant a run's folder will do, whose
last is taken, and where a store is meant a run that was captured. Tables go to the terminal as tables, into a pipe as
TSV, with `--json` as JSON.

| exit status | |
|---|---|
| 0 | done |
| 1 | `diff`: they differ; `doctor`: something is wrong; a run diverged, or lost a process; a step of a study failed |
| 2 | bad usage |
| 3 | unreadable or damaged input |
| 130 | interrupted |
"""


def pages() -> dict[str, str]:
    """Return the pages by their names."""
    with warnings.catch_warnings():  # `main` shows warnings in its own way from then on
        made = {f"commands/{name}": _page(name) for name in COMMANDS}
        made |= {f"commands/study-{name}": _page("study", name) for name in STUDIES}
    rows = [(f"[{name}]({name}.md)", _first_line(command)) for name, command in COMMANDS.items()]
    rows += [(f"[study {name}](study-{name}.md)", plain(study.summary)) for name, study in STUDIES.items()]
    names = [page.removeprefix("commands/") for page in made]
    return {"commands/index": "\n\n".join((_INTRODUCTION, table(("command", ""), rows), contents(names))), **made}


def _page(*words: str) -> str:
    return f"# metaprobe {' '.join(words)}\n\n{fenced(_help(words))}"


def _help(words: tuple[str, ...]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
        main((*words, "--help"))
    return told.getvalue()


def _first_line(command: object) -> str:
    return plain((inspect.getdoc(command) or "").partition("\n")[0])
