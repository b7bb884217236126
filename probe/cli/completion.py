"""`metaprobe --tyro-print-completion SHELL`: the script that lets a shell complete commands and options with Tab."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence

import tyro

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["PRINT", "completion_script"]

PRINT = "--tyro-print-completion"
_SHELLS = ("bash", "zsh", "fish")
_SPEC = re.compile(r"^COMPLETION_SPEC = .*$", re.MULTILINE)
_LINE_BREAK = re.compile(r"\\{1,2}n")  # as Python writes it; fish wants backslashes twice


def completion_script(app: tyro.extras.SubcommandApp, arguments: Sequence[str]) -> str:
    """Return the script that tyro makes of the commands.

    It completes from lines, a candidate and its description each, so that the second line of a description would be
    offered as a candidate: descriptions are put on one.

    Args:
        app: the commands.
        arguments: what stands after `PRINT`, the name of a shell.

    Raises:
        MetaprobeError: it is no shell that there is a script for.
    """
    if len(arguments) != 1 or arguments[0] not in _SHELLS:
        told = " ".join(arguments) or "nothing"
        raise MetaprobeError(f"{PRINT} needs the name of a shell, {', '.join(_SHELLS)}; got {told}")
    with contextlib.redirect_stdout(io.StringIO()) as script, contextlib.suppress(SystemExit):
        app.cli(prog="metaprobe", args=(PRINT, *arguments))
    return _SPEC.sub(lambda spec: _LINE_BREAK.sub(" ", spec[0]).replace("%%", "%"), script.getvalue())
