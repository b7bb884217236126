"""From activations to what a store keeps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.probe.capturing.activations import rows_of
from metaprobe.probe.capturing.passes import Blocks
from metaprobe.probe.moments import JointMoments, moments_of
from metaprobe.probe.store.metadata import LayerInfo, StoreMetadata
from metaprobe.probe.store.writing import StoreWriter
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["Recorder"]


class Recorder:
    """Turns the activations of batches of tasks into moments, sketches and raw blocks of an open store."""

    def __init__(self, writer: StoreWriter, metadata: StoreMetadata) -> None:
        self._writer, self._metadata = writer, metadata

    def record(self, first: int, batch: Tasks, before: Blocks, after: Iterable[Blocks]) -> None:
        """Record a batch whose first task has place `first`.

        Args:
            first: 0 for the first task of the store.
            batch: the tasks.
            before: activations before adaptation.
            after: those after each step of the metadata, in turn.

        Raises:
            MetaprobeError: samples, ways or outputs are not as many as in the first batch, or activations are not
                finite.
        """
        meta = self._metadata
        arrays = _task_arrays(batch)
        for name, size in (("query_ids", meta.n_query), ("support_ids", meta.n_support), ("class_ids", meta.n_way)):
            if arrays[name].shape != (len(batch), size):
                raise MetaprobeError(
                    f"task {batch.indices[0]}: {name} has shape {arrays[name].shape}, the first task of the stream had "
                    f"{size} entries; the tasks of a store are all of one size"
                )
        self._writer.tasks(first, batch.indices, arrays)
        x = {}
        for layer in meta.layers:
            x[layer.name] = self._phase(layer, "pre", first, before[layer.name])
            for i in range(len(batch)):
                ids, labels = arrays["query_ids"][i], arrays["query_labels"][i]
                self._writer.sketch_labels(layer.name, first + i, ids, labels)
        stayed = dict[tuple[str, int], JointMoments]()  # of rows that a step left as they were, as where layers freeze
        for step, (phase, blocks) in enumerate(zip(meta.phases[1:], after, strict=True)):
            for layer in meta.layers:
                y = self._phase(layer, phase, first, blocks[layer.name])
                for i, index in enumerate(batch.indices):
                    rows, at = x[layer.name][i], (layer.name, i)
                    same = np.array_equal(rows, y[i])
                    moments = stayed.get(at) if same else None
                    if moments is None:
                        moments = _moments(layer, rows, y[i], index, meta.steps[step])
                    if same:
                        stayed[at] = moments
                    self._writer.moments(layer.name, first + i, step, moments)

    def _phase(self, layer: LayerInfo, phase: str, first: int, block: Tensor) -> list[np.ndarray]:
        """Record what a phase leaves of one layer; return each task's rows."""
        if tuple(block.shape[2:]) != layer.shape or block.shape[1] != self._metadata.n_query:
            raise MetaprobeError(
                f"layer {layer.name!r} gave {tuple(block.shape[1:])} in phase {phase}, "
                f"{(self._metadata.n_query, *layer.shape)} in the first pass; a capture needs outputs of one shape"
            )
        values = (block.float() if block.dtype == torch.bfloat16 else block).cpu()
        if self._metadata.raw is not None:
            self._writer.activations(layer.name, phase, first, values.numpy())
        rows = [rows_of(task, layer.channel_axis + 1).contiguous().numpy() for task in values]
        for i, array in enumerate(rows):
            self._writer.sketch(layer.name, phase, first + i, array)
        return rows


def _moments(
    layer: LayerInfo, x: Float[np.ndarray, "row feature"], y: Float[np.ndarray, "row feature"], index: int, step: int
) -> JointMoments:
    try:
        return dataclasses.replace(moments_of(x, y), eps=(layer.eps, layer.eps))
    except ValueError as error:
        raise MetaprobeError(
            f"layer {layer.name!r}, task {index}, x before adaptation and y after inner step {step}: {error}"
        ) from error


def _task_arrays(batch: Tasks) -> dict[str, np.ndarray]:
    tensors = {
        "class_ids": batch.class_ids,
        "query_ids": batch.query.ids,
        "query_labels": batch.query.labels,
        "support_ids": batch.support.ids,
        "support_labels": batch.support.labels,
    }
    # a store's labels are classes; samples of a regression are all of one
    labels = {name: t if not t.is_floating_point() else t.new_zeros(t.shape[:2]).long() for name, t in tensors.items()}
    return {name: tensor.cpu().numpy() for name, tensor in labels.items()}
