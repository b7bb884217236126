"""What became of a mutant: what each reader found in it, and what that is called."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metaprobe.probe.cli import main
from metaprobe.trainers.errors import MetaprobeError

ROOT = Path(__file__).resolve().parents[2]
SAME, REFUSED = "same numbers", "refused in one line"
TRACEBACK, OTHER, UNCLEAR = "traceback", "other numbers", "not one line"
HANG, MEMORY, DIED = "hang", "memory", "died"
FAILURES = (TRACEBACK, OTHER, UNCLEAR, HANG, MEMORY, DIED)


class Hang(BaseException):
    """A reader takes too long; not an `Exception`, so that no reader takes it for damage."""


class Refused(Exception):
    """A command said in its one line why it does not read a file."""


@dataclass(frozen=True)
class Outcome:
    """How a mutant ended: one of the words above, the reader that it ended with, and what was said."""

    kind: str
    reader: str = ""
    told: str = ""
    trace: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES

    @property
    def key(self) -> str:
        """What failures of one cause have in common: the kind, the reader, and the place or the numbers."""
        return f"{self.kind} | {self.reader} | {self.told if self.kind != UNCLEAR else ''}"


Numbers = Mapping[str, Any]
Readers = Mapping[str, Callable[[], Numbers]]


_NOT_ALONE = "it will not end as a run left alone"
"""How training tells that its optimiser is lost: its numbers are others, and nobody takes them for the same."""


def digests(numbers: Numbers) -> dict[str, str]:
    """Return a hash of each of the numbers that a reader gave."""
    return {name: hashlib.sha256(_bytes(value)).hexdigest()[:16] for name, value in numbers.items()}


def _bytes(value: Any) -> bytes:
    """Return bytes that are equal for equal values alone: of arrays their bits, type and shape."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        return f"{value.dtype}{tuple(value.shape)}".encode() + value.flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        items = sorted((repr(name).encode(), _bytes(inner)) for name, inner in value.items())
        return b"{" + b"".join(b"%d:%s%d:%s" % (len(n), n, len(v), v) for n, v in items) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b"".join(b"%d:%s" % (len(part), part) for part in map(_bytes, value)) + b"]"
    return value if isinstance(value, bytes) else f"{type(value).__name__}{value!r}".encode()


def command(*words: str) -> str:
    """Run a command of metaprobe in this process and return what it wrote.

    Raises:
        Refused: it ended with a status other than 0, and told why in one line.
        AssertionError: it ended so and wrote no line, or several, or something that a terminal would obey.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    told = err.getvalue()
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in told, f"a traceback on stderr: {told}"
    if status == 1 and not errors:  # "differs", told on stdout
        raise Refused("differs")
    assert len(errors) == (status != 0), f"status {status}, {len(errors)} lines that begin with error: {told[-500:]!r}"
    assert all(line.isprintable() for line in told.splitlines()), f"unprintable: {told!r}"
    if status:
        raise Refused(errors[0])
    if _NOT_ALONE in told:
        raise Refused(_NOT_ALONE)
    return out.getvalue()


def json_of(*words: str) -> Any:
    """Run a command with --json and return what it wrote."""
    return json.loads(command(*words, "--json"))


def read_all(readers: Readers) -> dict[str, dict[str, str]]:
    """Return what all readers find in a clean file."""
    return {name: digests(read()) for name, read in readers.items()}


def judged(
    readers: Readers, clean: Mapping[str, Mapping[str, str]], another: Callable[[str, Numbers], bool]
) -> Outcome:
    """Return how a mutant ends.

    Args:
        readers: what reads it, by name; the first that fails ends the mutant.
        clean: what each found in the clean file.
        another: whether numbers that a reader found, though not the clean ones, are what the mutant itself says
            (where a format has no checksum, a changed file is another file).
    """
    refused = ""
    for name, read in readers.items():
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                numbers = read()
        except (MetaprobeError, Refused) as error:
            refused = refused or f"{name}: {error}"
            if not str(error):  # how the command line shows it, on one line, `command` checks
                return Outcome(UNCLEAR, name, repr(str(error)))
            continue
        except AssertionError as error:
            return Outcome(UNCLEAR, name, str(error), traceback.format_exc())
        except Hang:
            return Outcome(HANG, name, _place(traceback.format_exc()), traceback.format_exc())
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            trace = traceback.format_exc()
            return Outcome(TRACEBACK, name, f"{type(error).__name__} at {_place(trace)}", trace)
        found = digests(numbers)
        if found != clean[name] and not another(name, numbers):
            names = sorted(n for n in found.keys() | clean[name].keys() if found.get(n) != clean[name].get(n))
            return Outcome(OTHER, name, ", ".join(names[:4]) + (" …" if len(names) > 4 else ""))
        if told:
            refused = refused or f"{name}: warning: {told[0].message}"
    return Outcome(REFUSED, told=refused) if refused else Outcome(SAME)


def _place(trace: str) -> str:
    """Return the last line of a traceback that is the project's own."""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    own = [line for line in lines if str(ROOT) in line and f"{ROOT}/tests" not in line] or lines or ["?"]
    file, _, rest = own[-1].removeprefix('File "').partition('", line ')
    return f"{file.removeprefix(f'{ROOT}/')}:{rest.partition(',')[0]}"
