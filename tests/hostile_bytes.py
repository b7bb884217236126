"""What tests of hostile files share: a refusal in one line, and Python under a limit of memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.trainers.errors import UnreadableInput


def refused(path: Path, reason: str) -> None:
    for look in (lambda: inspect_file(path), lambda: inspect_file(path, stats=True), lambda: diff_files(path, path)):
        started, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UnreadableInput, match=reason) as caught:
            look()
        assert str(caught.value).isprintable()
        assert str(path) in str(caught.value)
        assert time.process_time() - started < 10  # the first .pt imports torch
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 600_000  # kB; so does this
