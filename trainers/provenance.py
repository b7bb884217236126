"""What made a file: enough to make it again."""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy as np
import torch

__all__ = ["provenance"]


def provenance(data_fingerprint: str, seed: int, device: str) -> dict[str, str | int]:
    """Return versions, threads, device, seed and the data's hash, as JSON values.

    Neither a time nor a path is among them: the same run on the same machine gives the same bytes.

    Args:
        data_fingerprint: `ImageSet.fingerprint`.
        seed: of the run.
        device: as given to the run.
    """
    return {
        "metaprobe": version("metaprobe"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "data_fingerprint": data_fingerprint,
        "seed": seed,
    }
