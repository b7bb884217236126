"""Looks inside a meta-learner: files, layers, activations before and after adaptation.

`probe.capture` and its like are found on first use: they need torch, and much of this package does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaprobe.probe.capturing import Origin, capture, capture_checkpoint
    from metaprobe.probe.store import RawOptions, Store, open_store

__all__ = ["Origin", "RawOptions", "Store", "capture", "capture_checkpoint", "open_store"]

_HOMES = {
    "Origin": "metaprobe.probe.capturing",
    "RawOptions": "metaprobe.probe.store",
    "Store": "metaprobe.probe.store",
    "capture": "metaprobe.probe.capturing",  # not probe.capture: a submodule would hide the function
    "capture_checkpoint": "metaprobe.probe.capturing",
    "open_store": "metaprobe.probe.store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
