"""Where to compute."""

from __future__ import annotations

import torch

from trainers.errors import MetaprobeError

__all__ = ["device_named"]


def device_named(name: str) -> torch.device:
    """Return the device of that name; never another in its place.

    Raises:
        MetaprobeError: it is no device, not a CPU or CUDA one, or there is no such CUDA device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MetaprobeError(f"--device {name!r} is no device; expected cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise MetaprobeError(f"--device {name} is not supported; expected cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here"
        raise MetaprobeError(f"--device {name} was asked for, but {seen}")
    return device
