"""Images as files, which tests of data sets write and read."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data not there: {SHARED}")


def write_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def published(name: str) -> list[str]:
    return (SHARED / "splits" / name).read_text().split()


def fake_torchvision(monkeypatch: pytest.MonkeyPatch, name: str, replacement: Callable[..., object]) -> None:
    module = types.ModuleType("torchvision.datasets")
    setattr(module, name, replacement)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
