"""`metaprobe`, which is also `python -m metaprobe`."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line and return its exit status; an interrupt while it is being imported ends in a line, too."""
    try:
        from metaprobe.probe.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(run())
