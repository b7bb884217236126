"""`metaprobe doctor`."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from metaprobe.probe.cli.arguments import DataRoot, Json
from metaprobe.probe.show import Grid, as_json, show, write_line
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["COMMANDS"]


def doctor(
    *,
    data_root: DataRoot = None,
    jobs: Annotated[int, tyro.conf.arg(metavar="INT")] = 1,
    json: Json = False,
) -> int:
    """Tell what is found here: versions, extras, devices, threads, memory, data; and what is wrong, with a remedy.

    Exit status 1 where something is wrong. Extras and data that are not there are no fault.

    Args:
        data_root: Folder of the data sets.
        jobs: Processes that are to run side by side with the threads of this environment.
        json: Write JSON.
    """
    if jobs < 1:
        raise MetaprobeError(f"--jobs must be at least 1; got {jobs}")
    from metaprobe.probe.doctor import diagnose

    sys.stderr.write("importing what is installed, which takes from seconds to minutes\n")
    found = diagnose(data_root, jobs)
    if json:
        write_line(as_json(found))
        return 1 if found.problems else 0
    versions = [("metaprobe", None, None, found.version, "fine"), ("python", None, None, found.python, "fine")]
    versions += [(one.name, one.wanted, one.extra or None, one.installed, one.state) for one in found.packages]
    extras = [(one.name, one.purpose, ", ".join(one.missing) or None) for one in found.extras]
    data = [(one.name, one.kind, one.where or "not there") for one in found.data]
    problems = [(one.wrong, one.remedy) for one in found.problems] or [("nothing", None)]
    show((
        Grid("versions", ("package", "wanted", "extra", "installed", "state"), tuple(versions)),
        Grid("extras: pip install 'metaprobe[NAME]'", ("extra", "for", "not_installed"), tuple(extras)),
        Grid("machine", ("what", "value"), tuple((one.what, one.value) for one in found.machine)),
        Grid("data, beside the sets that are embedded", ("name", "kind", "where"), tuple(data)),
        Grid("problems", ("wrong", "what to do"), tuple(problems)),
    ))  # fmt: skip
    return 1 if found.problems else 0


COMMANDS = {"doctor": doctor}
