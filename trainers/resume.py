"""The resume state: weights, Adam's moments and the iteration in one safetensors file, complete by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.checkpoint import Checkpoint, fingerprint_of, metadata_for, read_tensors, write_tensors
from trainers.errors import UnreadableInput

__all__ = ["OuterState", "load_resume_state", "save_resume_state"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class OuterState:
    """What changes while a run trains; with the config it is all that a resumed run needs."""

    params: Mapping[str, Tensor]
    optimiser: torch.optim.Adam
    iteration: int = 0
    best_accuracy: float = -math.inf


def save_resume_state(path: Path, state: OuterState, checkpoint: Checkpoint) -> None:
    """Write the state, whole or not at all, beside the metadata of the checkpoint that it belongs to."""
    tensors = {f"param/{name}": parameter for name, parameter in state.params.items()}
    for name, parameter in state.params.items():
        tensors |= {f"{moment}/{name}": state.optimiser.state[parameter][moment] for moment in _MOMENTS}
    best = {} if math.isinf(state.best_accuracy) else {"best_accuracy": state.best_accuracy}
    metadata = metadata_for(checkpoint, "resume state", fingerprint_of(tensors), best)
    write_tensors(path, tensors, metadata)


def load_resume_state(path: Path, state: OuterState) -> Mapping[str, Any]:
    """Put a saved state back in place; return its provenance.

    Raises:
        UnreadableInput: the file is damaged or belongs to other weights.
    """
    metadata, tensors = read_tensors(path)
    expected = {f"{part}/{name}": p.shape for name, p in state.params.items() for part in ("param", *_MOMENTS)}
    if metadata.kind != "resume state" or {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise UnreadableInput(f"{path}: expected the resume state of this run's network, got a {metadata.kind}")
    with torch.no_grad():
        for name, parameter in state.params.items():
            parameter.copy_(tensors[f"param/{name}"])
            moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
            state.optimiser.state[parameter] = {"step": torch.tensor(float(metadata.iteration)), **moments}
    state.iteration = metadata.iteration
    state.best_accuracy = metadata.metrics.get("best_accuracy", -math.inf)
    return metadata.provenance
