"""Capture of activations before and after adaptation; `probe.capture` and `probe.capture_checkpoint` lead here."""

from __future__ import annotations

from metaprobe.probe.capturing.capture import Origin, capture
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint

__all__ = ["Origin", "capture", "capture_checkpoint"]
