"""The streams and the terminal that a command finds, made fit to write to."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys

__all__ = ["prepare_streams"]

_LEAST_COLUMNS = 40  # help for a narrower terminal breaks in every word, and below 8 columns tyro never ends
_SPELLED = {"…": "...", "•": "*", "—": "--", "–": "-", "−": "-", "×": "x", "±": "+-", "’": "'"}
_SPELLED |= {"\N{NO-BREAK SPACE}": " ", "“": '"', "”": '"', "≥": ">=", "≤": "<=", "→": "->", "·": "*"}


def prepare_streams() -> None:
    """Make standard output and standard error take any text, and help no narrower than it can be read.

    A stream that was closed before the process began swallows what is said. A character that a stream's encoding lacks,
    as ASCII lacks "…", is spelled in others, or written as an escape. A width that is given is kept but where it is
    too small.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the process began: what is said goes nowhere, the work is done
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for the rest of the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="metaprobe.spelled")
    if shutil.get_terminal_size().columns < _LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(_LEAST_COLUMNS)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spell what an encoding lacks: an error handler, as `codecs.register_error` wants them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelled = "".join(_SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in lacking)
    return spelled, error.end


codecs.register_error("metaprobe.spelled", _spelled)
