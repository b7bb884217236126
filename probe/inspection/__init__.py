"""Checkpoints as files: what is in one, how two differ. Nothing here imports torch, but for a PyTorch `.pt`."""

from metaprobe.probe.inspection.diff import Difference, diff_files
from metaprobe.probe.inspection.inspect import Inspection, inspect_file

__all__ = ["Difference", "Inspection", "diff_files", "inspect_file"]
