"""A small store with every kind of content, as tests of stores write it."""

import dataclasses

import h5py
import numpy as np

from metaprobe.probe.moments import moments_of
from metaprobe.probe.store import LayerInfo, StoreMetadata
from metaprobe.probe.store.writing import StoreWriter
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.files import replacing

LAYERS = (
    LayerInfo("conv", (3, 4, 2), 0, "float32"),
    LayerInfo("odd/na%me#1", (5,), 0, "float64"),
    LayerInfo("tokens", (6, 2), 1, "bfloat16"),
)
METADATA = StoreMetadata(
    fingerprint="ab" * 32,
    checkpoint=None,
    adaptation=Adaptation(("conv",), 0.1, 3),
    normalisation="transductive",
    data="toy",
    data_fingerprint="cd" * 32,
    split="test",
    task_seed=4,
    n_tasks=5,
    n_query=6,
    n_support=2,
    n_way=2,
    steps=(1, 2, 3),
    sketch_rows=50,
    sketch_seed=0,
    layers=LAYERS,
    raw=None,
    provenance={"threads": 1},
)
INDICES = (10, 11, 12, 15, 19)


def numbers_for(layer, step, task):
    """The moments that the test stores hold."""
    generator = np.random.default_rng([LAYERS.index(layer), step, task])
    x, y = generator.normal(size=(2, 6 * layer.positions, layer.features))
    return dataclasses.replace(moments_of(x, y + 3), eps=(layer.eps, layer.eps))


def activations_for(layer, phase, task):
    generator = np.random.default_rng([LAYERS.index(layer), len(phase), task])
    dtype = np.float64 if layer.dtype == "float64" else np.float32
    return generator.normal(size=(6, *layer.shape)).astype(dtype)


def write(path, metadata=METADATA):
    with replacing(path) as temporary, StoreWriter(temporary, metadata) as writer:
        ids = {"query_ids": 6, "query_labels": 6, "support_ids": 2, "support_labels": 2, "class_ids": 2}
        arrays = {name: np.arange(5 * n).reshape(5, n) for name, n in ids.items()}
        writer.tasks(0, INDICES, arrays)
        for layer in metadata.layers:
            for task in range(5):
                labels = (arrays["query_ids"][task], arrays["query_labels"][task])
                writer.sketch_labels(layer.name, task, *labels)
                for phase in metadata.phases:
                    block = activations_for(layer, phase, task)
                    rows = np.moveaxis(block, layer.channel_axis + 1, -1).reshape(-1, layer.features)
                    writer.sketch(layer.name, phase, task, rows)
                    if metadata.raw is not None:
                        writer.activations(layer.name, phase, task, block[None])
                for place, step in enumerate(metadata.steps):
                    writer.moments(layer.name, task, place, numbers_for(layer, step, task))
    return path


def overwritten(path, name, byte):
    """Fill a dataset with a byte, as a lost chunk (0) or an erased block (255) would."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        dataset = file[name]
        raw = np.full(dataset.size * dataset.dtype.itemsize, byte, np.uint8)
        dataset[...] = raw.view(dataset.dtype).reshape(dataset.shape)
