"""The resume state: weights, Adam's moments and the iteration in one safetensors file, complete by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaprobe.trainers.checkpoint import Checkpoint, metadata_for, read_tensors, write_tensors
from metaprobe.trainers.clustering.stream import AssignedTasks
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.task_kinds import CLASSIFICATION, KINDS

__all__ = ["OuterState", "load_resume_state", "save_resume_state"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class OuterState:
    """What changes while a run trains; with the config it is all that a resumed run needs.

    `best` is the metric of the best validation, so that more is better (`TaskKind.goodness`). `tasks`, for runs that do
    not take them as they come, says which wait; see `trainers.clustering.stream`.
    """

    params: Mapping[str, Tensor]
    optimiser: torch.optim.Adam
    iteration: int = 0
    best: float = -math.inf
    tasks: AssignedTasks | None = None


def save_resume_state(path: Path, state: OuterState, checkpoint: Checkpoint) -> None:
    """Write the state, whole or not at all, beside the metadata of the checkpoint that it belongs to."""
    tensors = {f"param/{name}": parameter for name, parameter in state.params.items()}
    steps = []
    for name, parameter in state.params.items():
        adam = state.optimiser.state[parameter]  # empty for what has had no gradient yet
        tensors |= {f"{moment}/{name}": adam.get(moment, torch.zeros_like(parameter)) for moment in _MOMENTS}
        steps.append(int(adam.get("step", 0)))
    tensors["steps"] = torch.tensor(steps)
    if state.tasks is not None:
        tensors["tasks"] = state.tasks.state
    kind = KINDS[checkpoint.config.loss]
    best = {} if math.isinf(state.best) else {f"best_{kind.metric}": kind.goodness(state.best)}
    metadata = metadata_for(checkpoint, "resume state", tensors, best)
    write_tensors(path, tensors, metadata)


def load_resume_state(path: Path, state: OuterState) -> Mapping[str, Any]:
    """Put a saved state back in place; return its provenance.

    Raises:
        UnreadableInput: the file is damaged or belongs to other weights.
    """
    metadata, tensors = read_tensors(path)
    # Runs of one initialisation that were begun before there were others have no steps: all its tensors took every one.
    steps = tensors.pop("steps", torch.full((len(state.params),), metadata.iteration))
    tasks = tensors.pop("tasks", None)
    expected = {f"{part}/{name}": p.shape for name, p in state.params.items() for part in ("param", *_MOMENTS)}
    fits = {name: tensor.shape for name, tensor in tensors.items()} == expected and steps.shape == (len(state.params),)
    if metadata.kind != "resume state" or not fits or (tasks is None) != (state.tasks is None):
        raise UnreadableInput(f"{path}: expected the resume state of this run's network, got a {metadata.kind}")
    with torch.no_grad():
        for step, (name, parameter) in zip(steps.tolist(), state.params.items(), strict=True):
            parameter.copy_(tensors[f"param/{name}"])
            moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
            state.optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    if state.tasks is not None and tasks is not None:
        state.tasks.state = tasks
    state.iteration = metadata.iteration
    kind = KINDS[metadata.config.get("loss", CLASSIFICATION.loss)]
    found = metadata.metrics.get(f"best_{kind.metric}")
    state.best = -math.inf if found is None else kind.goodness(found)
    return metadata.provenance
