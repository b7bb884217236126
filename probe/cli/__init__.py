"""The command line: `metaprobe …`.

This package is the one place that knows all four others; its commands import what they need when they run, so that
`--help`, `list` and `inspect` answer at once and without torch.
"""

from __future__ import annotations

import contextvars
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import tyro

from metaprobe.probe.cli import (
    clusters,
    converting,
    demo,
    distances,
    doctor,
    files,
    freezing,
    hub,
    importing,
    listing,
    measuring,
    reporting,
    training,
)
from metaprobe.probe.cli.arguments import GIVEN, option_in
from metaprobe.probe.cli.completion import PRINT, completion_script
from metaprobe.probe.cli.config_file import ConfigFile
from metaprobe.probe.cli.streams import prepare_streams
from metaprobe.probe.show import write_line
from metaprobe.trainers.allocator import keep_freed_memory
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import TEMPORARY
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.interrupt import termination_is_interrupt

__all__ = ["COMMANDS", "main"]

_ROOMS = (demo, training, importing, files, measuring, distances, freezing, clusters, converting, reporting, listing)
_ROOMS += (hub, doctor)
COMMANDS = {name: command for room in _ROOMS for name, command in room.COMMANDS.items()}
"""All commands by name, in the order of the help."""

_DESCRIPTION = "What does a meta-learner reuse, and what does it relearn, when it adapts to a task?"
_DESCRIPTION += "\n\n`metaprobe --version` tells which this is, `metaprobe doctor` whether it has all it needs."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done, 1 "differs" or a run that diverged or lost one of its processes, 2 bad usage, 3 unreadable or damaged input,
    130 interrupted.

    Args:
        arguments: the command line without the program's name (default: the process's own).
    """
    try:
        with termination_is_interrupt():
            given = tuple(sys.argv[1:] if arguments is None else arguments)
            return contextvars.copy_context().run(_main, given)  # what a command sets ends with it
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _main(given: tuple[str, ...]) -> int:
    prepare_streams()
    warnings.showwarning = _show_warning
    keep_freed_memory()
    GIVEN.set(given)
    if given == ("--version",):
        from metaprobe.probe.doctor.packages import own_version

        write_line(f"metaprobe {own_version()}")
        return 0
    app = tyro.extras.SubcommandApp()
    for name, command in COMMANDS.items():
        app.command(command, name=name)
    try:
        if given[:1] == ("study",) and given[1:2] and not given[1].startswith("-"):
            status = reporting.study_asked(given[1], given[2:])  # its options are its own
        else:
            if given[:1] in (("study",), (PRINT,)):
                app.command(reporting.studies(), name="study")
            if given[:1] == ("train",) and (file := option_in(given, "--config")):
                app.command(training.train_with(ConfigFile.read(Path(file))), name="train")
            if given[:1] == (PRINT,):
                sys.stdout.write(completion_script(app, given[1:]))
                return 0
            status = app.cli(prog="metaprobe", description=_DESCRIPTION, args=given)
        sys.stdout.flush()
        return status or 0
    except MetaprobeError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of a pipe has seen enough; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written: the system's words say it best
        told = f"{error.filename or 'input or output'}: {error.strerror or error}"
        return _fail(TEMPORARY.sub(r"\g<name>", told), 2)


def _fail(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"error: {visible(message)}\n")
    return status


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"warning: {visible(str(message))}\n")
