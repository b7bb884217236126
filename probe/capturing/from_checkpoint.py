"""A checkpoint's own capture: its network, its way to adapt, tasks of its shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from metaprobe.probe.capturing.capture import Origin, capture
from metaprobe.probe.capturing.choosing import ChannelAxis
from metaprobe.probe.store.metadata import RawOptions
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import load_checkpoint, metadata_for
from metaprobe.trainers.device import device_named
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.otherwise import AS_TRAINED, Otherwise
from metaprobe.trainers.tasks.data import Data

__all__ = ["capture_checkpoint"]


def capture_checkpoint(
    path: Path | str,
    data: Data,
    out: Path | str,
    *,
    tasks: int = 100,
    layers: str | Sequence[str] = "*",
    steps: Literal["last", "all"] = "last",
    inner_steps: int | None = None,
    raw: bool | RawOptions = False,
    seed: int = 0,
    split: str = "test",
    n_query: int = 15,
    channel_axis: ChannelAxis = None,
    sketch_rows: int = 20_000,
    chunk: int = 4,
    device: str = "cpu",
    otherwise: Otherwise = AS_TRAINED,
    advance: Callable[[int], None] | None = None,
) -> Path:
    """Capture a checkpoint on tasks 0 … tasks−1 of a split, adapting as its trainer would; see `probe.capture`.

    Args:
        path: the checkpoint. Of several initialisations each task starts from its own.
        data: where the tasks come from.
        out: the store.
        tasks: how many.
        layers: glob patterns.
        steps: moments after the "last" inner step or "all".
        inner_steps: how many there are (default: as many as it was trained with).
        raw: also store whole activations.
        seed: of the tasks and of the sketch's rows.
        split: "train", "val" or "test".
        n_query: query images of a class.
        channel_axis: where features are, as in `probe.capture`.
        sketch_rows: most rows of a sketch.
        chunk: tasks at once; the knob for memory.
        device: where to compute.
        otherwise: ways, shots, rate and images other than it was trained with, which the store then says.
        advance: called with the number of tasks just done.

    Returns:
        The path of the store.

    Raises:
        UnreadableInput: the checkpoint cannot be read.
        MetaprobeError: the data do not fit the network, or as in `probe.capture`.
    """
    checkpoint = load_checkpoint(path)
    if tasks < 1:
        raise MetaprobeError(f"a capture needs at least one task; got {tasks}")
    tested, told = as_tested(checkpoint, otherwise), otherwise.told_of_images(checkpoint)
    place, adaptation = device_named(device), tested.adaptation
    if inner_steps is not None:
        adaptation = dataclasses.replace(adaptation, steps=inner_steps)
    sampler = sampler_for(tested, data, split=split, n_query=n_query, seed=seed, device=device)
    network = tested.network().to(place)
    return capture(
        network,
        tested.start(place),
        (sampler.batch(range(first, min(first + chunk, tasks))) for first in range(0, tasks, chunk)),
        out=out,
        adaptation=adaptation,
        layers=layers,
        steps=steps,
        transductive=checkpoint.config.norm != "non-transductive",
        raw=raw,
        n_tasks=tasks,
        channel_axis=channel_axis,
        sketch_rows=sketch_rows,
        seed=seed,
        chunk=chunk,
        origin=Origin(
            metadata_for(checkpoint), f"{data.name}, {told}" if told else data.name, data.fingerprint, split, seed
        ),
        advance=advance,
    )
